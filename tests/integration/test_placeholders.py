"""Exchange's placeholder for a message that it cannot convert is not mail (rule 8.3)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from shared.intake.placeholders import find_placeholder
from shared.mailboxes.spool import Content
from tests.integration.intake_fixture import IntakeFixture, letter


def placeholder(protocol: str = "IMAP4", number: int = 2, *, folded: bool = True) -> bytes:
    fold = "\r\n" if folded else ""
    return (
        "MIME-Version: 1.0\r\n"
        'Content-Type: text/plain; charset="us-ascii"\r\n'
        "From: Microsoft Exchange Server 2010\r\n"
        "To: Support <support@example.com>\r\n"
        f"Subject: Retrieval using the {protocol} protocol failed for the following{fold} message: {number}\r\n"
        "\r\n"
        'The original has the subject "Offer". It has not been deleted.\r\n'
    ).encode()


BEFORE_HEADER = [
    *(b"\r\n", b"\r\n\r\n", b" \r\n\r\n", b"\t\r\n\r\n", b"\n \n\r\n\r\n", b"\r", b"\r\n\r"),
    *(b"\xef\xbb\xbf", b"\xef\xbb\xbf\r\n\r\n"),
]
"""What the parser skips before a header: a byte order mark, and blank lines."""


def forward() -> bytes:
    return (
        b"Received: from mail.example.com by mx.example.com; Mon, 23 Nov 2026 08:00:00 +0000\r\n"
        b"From: Ann <ann@customer.example>\r\n"
        b"To: support@example.com\r\n"
        b"Subject: Retrieval using the IMAP4 protocol failed for the following message: 2\r\n"
        b"\r\n"
        b"What does this mean?\r\n"
    )


@pytest.mark.parametrize("before", BEFORE_HEADER)
def test_8_3_a_placeholder_is_recognised_after_blank_lines(before: bytes) -> None:
    marked_first = placeholder()[placeholder().index(b"From:") :]
    assert marked_first.startswith(b"From: Microsoft Exchange")
    for data in (placeholder(), marked_first, placeholder()[placeholder().index(b"Subject:") :]):
        assert find_placeholder(Content.from_bytes(before + data)) is not None


@pytest.mark.parametrize(
    "subject",
    [
        "IMAP4\u30d7\u30ed\u30c8\u30b3\u30eb\u3067\u6b21\u306e\u30e1\u30c3\u30bb\u30fc\u30b8: 2",
        "\u4f7f\u7528IMAP4\u534f\u8bae\u68c0\u7d22\u4ee5\u4e0b\u90ae\u4ef6\u5931\u8d25: 2",
        "POP3\ud504\ub85c\ud1a0\ucf5c\uc744 \uc0ac\uc6a9\ud55c \uac80\uc0c9 \uc2e4\ud328: 2",
    ],
    ids=["ja", "zh", "ko"],
)
def test_8_3_a_placeholder_is_recognised_without_spaces(subject: str) -> None:
    head = placeholder().partition(b"Subject:")[0]
    for written, recognised in ((subject, True), (subject.replace("P", "PX"), False)):
        data = head + f"Subject: {written}\r\n\r\nx\r\n".encode()
        assert (find_placeholder(Content.from_bytes(data)) is not None) is recognised


@pytest.fixture
def world(tmp_path: Path) -> Iterator[IntakeFixture]:
    world = IntakeFixture(tmp_path)
    yield world
    world.stores.close()


@pytest.mark.parametrize("after", ["delete", "keep"])
@pytest.mark.parametrize(("protocol", "name"), [("imap", "IMAP4"), ("pop3", "POP3")])
def test_8_3_a_placeholder_is_recorded_as_unreadable_and_the_original_stays(
    world: IntakeFixture, protocol: str, name: str, after: str
) -> None:
    world.extra = {"PROTOCOL": protocol, "AFTER": after}
    world.server.deliver(letter(1), placeholder(name), letter(3))
    world.poll()
    world.poll()
    assert len(world.results()) == 2
    [path] = world.stores.blobs.list("unreadable/")
    assert f"Retrieval using the {name} protocol failed" in str(world.read(path)["detail"])
    assert 2 in world.server.messages
    assert world.server.downloaded.count(2) == 1, "it is not asked for at each poll"
    assert world.app().health.get("support").left == 1


def test_8_3_a_message_that_exchange_delivers_later_is_collected(world: IntakeFixture) -> None:
    """Its size is that of the original, whatever is delivered."""
    later = letter(9, len(placeholder()) - 2)
    world.server.deliver(placeholder())
    world.poll()
    world.server.messages[1] = later
    assert len(later) == len(placeholder())
    world.time += timedelta(hours=23)
    world.poll()
    assert world.results() == []
    world.time += timedelta(hours=2)
    world.poll()
    assert len(world.results()) == 1
    assert world.server.messages == {}


def test_8_3_a_placeholder_is_recognised_unfolded_too(world: IntakeFixture) -> None:
    world.server.deliver(placeholder(folded=False, number=20004))
    world.poll()
    assert len(list(world.stores.blobs.list("unreadable/"))) == 1


def test_8_3_a_placeholder_in_another_language_is_recognised_by_its_author(world: IntakeFixture) -> None:
    subject = b"Fehler beim Abrufen der folgenden Nachricht mit dem IMAP4-Protokoll: 2"
    data = placeholder(folded=False).replace(
        b"Retrieval using the IMAP4 protocol failed for the following message: 2", subject
    )
    assert subject in data
    world.server.deliver(data)
    world.poll()
    assert len(list(world.stores.blobs.list("unreadable/"))) == 1


def courier() -> bytes:
    return (
        b"From: System Administrator <root@localhost>\r\n"
        b"Subject: message unavailable\r\n"
        b"\r\n"
        b"The message was removed.\r\n"
    )


def test_8_3_couriers_placeholder_for_a_deleted_message_is_not_collected(world: IntakeFixture) -> None:
    world.server.deliver(courier(), letter(2))
    world.poll()
    assert [receipt.server_key for receipt in world.receipts()] == ["1.2"]
    assert list(world.stores.blobs.list("unreadable/")) == [], "the message is gone"
    world.poll()
    world.poll()
    assert len(list(world.stores.blobs.list("unreadable/"))) == 1, "it was listed at three polls all the same"
    assert 1 in world.server.messages


@pytest.mark.parametrize(
    "message",
    [
        courier().replace(b"root@localhost", b"root@example.com"),
        b"Received: from a by b; Mon, 23 Nov 2026 08:00:00 +0000\r\n" + courier(),
        forward(),
        forward().replace(b"Subject: ", b"Subject: Fwd: "),
        forward().partition(b"\r\n")[2],
        placeholder().replace(
            b"From: Microsoft Exchange Server 2010", b"From: Microsoft Exchange <exchange@example.com>"
        ),
        placeholder().replace(b"IMAP4", b"HTTP"),
    ],
    ids=[
        "a person's",
        "Courier's, forwarded",
        "a person quotes it",
        "forwarded",
        "forwarded, no trace",
        "with an address",
        "no mail protocol",
    ],
)
def test_8_3_ordinary_mail_about_a_placeholder_is_collected(world: IntakeFixture, message: bytes) -> None:
    world.server.deliver(message)
    world.poll()
    assert list(world.stores.blobs.list("unreadable/")) == []
    assert len(world.receipts()) == 1
    assert world.server.messages == {}
