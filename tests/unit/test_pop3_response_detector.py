"""Texts in a message that may be the response to another command (`shared/mailboxes/pop3/response_detector.py`)."""

from __future__ import annotations

import pytest

from shared.mailboxes.pop3.response_detector import ResponseDetector


def parts(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 1000])
@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"a line\r\nand +OK \r\n", True),
        (b"in the middle-ERR\r\nof a line", True),
        (b"+OK\n", True),
        (b"+OK+OK -", True),
        (b"-ERR-ERR+OK-ERR 1", True),
        (b"base64+OKxy+OK/z-ERRa", False),
        (b"+ok \r\n-err \r\n", False),
        (b"the end is +OK", False),
        (b"-ER\r\n+O K", False),
        (b"", False),
    ],
)
def test_a_response_is_detected_wherever_the_parts_of_a_message_end(data: bytes, size: int, *, expected: bool) -> None:
    written: list[bytes] = []
    detector = ResponseDetector(written.append)
    for part in parts(data, size):
        detector.write(part)
    assert detector.detected is expected
    assert b"".join(written) == data
