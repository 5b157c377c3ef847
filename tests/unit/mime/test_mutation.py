"""Valid mail with random but reproducible damage is still read (rule 7.6)."""

import hashlib
import json
import random

import pytest

from shared.documents.message_document import message_fields
from shared.mime.buffer import Buffer
from shared.mime.defects import MAX_DEFECTS
from shared.mime.parser import read_message
from tests.cpu_time import within
from tests.sizes import size
from tests.unit.mime.samples import sample

MAILS, VARIANTS = 40, 8  # for each seed
GUARD = 4  # seconds a megabyte, as `within` counts them (twice the limit)

INSERTED = [
    b"\0", b"\0" * 9, b"\r", b"\n", b"\r\r\n", b"\n\r", b"\r\n\r\n", b"\n\n", b"\n--", b"\n----\n", b"\n--b\n",
    b"\n--b--\n", b"\n--=_", b"--\n", b":", b": ", b"\n :", b";", b'"', b"=", b"==", b"=?", b"?=", b"\x1b$B",
    b"\xff\xfe", b"\xef\xbb\xbf", b"<", b"<!--", b"&#", b"(", b"@", b"\nbegin 644 x\n", b"\nend\n", b" \n",
    b'\nContent-Type: multipart/mixed; boundary="\n', b"\nContent-Type: text/plain; charset=utf-16\n",
    b"\nContent-Transfer-Encoding: base64\n",
]  # fmt: skip


def damaged(source: random.Random, mail: bytes) -> bytes:
    """Return the mail with one to eight changes."""
    for _ in range(source.randint(1, 8)):
        position = source.randrange(len(mail) + 1)
        end = min(position + source.choice([1, 2, 10, 80, 500]), len(mail))
        match source.choice(["cut", "flip", "flip", "repeat", "delete", "insert", "insert", "insert", "fake"]):
            case "cut":
                mail = mail[:position] if source.random() < 0.3 else mail[position:] if source.random() < 0.1 else mail
            case "flip":
                mail = (
                    mail[:position] + bytes(byte ^ 1 << source.randrange(8) for byte in mail[position:end]) + mail[end:]
                )
            case "repeat":
                mail = mail[:position] + mail[position:end] * source.choice([2, 3, 40]) + mail[end:]
            case "delete":
                mail = mail[:position] + mail[end:]
            case "insert":
                mail = mail[:position] + source.choice(INSERTED) + mail[position:]
            case _:
                mail = mail[:position] + look_alike(source, mail) + mail[position:]
    return mail


def look_alike(source: random.Random, mail: bytes) -> bytes:
    """Return a line that is a delimiter of the mail, or resembles one."""
    lines = [line for line in mail.splitlines() if line.startswith(b"--")] or [b"--"]
    line = source.choice(lines)
    end = source.randrange(len(line) + 1)
    return b"\n" + source.choice([line, line[:end], line + b"x", line + b"--", line + b" \t", b"\t" + line]) + b"\n"


def check(mail: bytes) -> None:
    """Parse mail without the safety net of `parse`, and check that the result is consistent and can be stored."""
    message = read_message(Buffer(mail))
    json.dumps(message_fields(message), ensure_ascii=False).encode()
    assert message.size == len(mail)
    assert len(message.defects) <= MAX_DEFECTS + 1
    for number, attachment in enumerate(message.attachments, 1):
        content = b"".join(attachment.chunks())
        assert (attachment.number, attachment.size) == (number, len(content))
        assert attachment.sha256 == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("seed", range(size(3, soak=100)))
def test_7_6_damaged_mail_of_every_kind_is_read(seed: int) -> None:
    source = random.Random(seed)
    for _ in range(MAILS):
        mail = sample(source, source.choice([800, 2_000, 4_000]))
        for variant in range(VARIANTS):
            data = damaged(source, mail)
            try:
                check(data)
            except Exception as error:
                error.add_note(f"seed {seed}, variant {variant}: {data!r}")
                raise


@pytest.mark.parametrize("seed", range(size(4, soak=100)))
def test_7_6_a_repeated_piece_takes_time_in_proportion_to_its_size(seed: int) -> None:
    source = random.Random(seed)
    mail = damaged(source, sample(source, 2_000))
    position = source.randrange(len(mail))
    piece = mail[position : position + source.choice([1, 3, 20, 200])] + source.choice(INSERTED)
    data = mail[:position] + piece * (100_000 // len(piece)) + mail[position:]
    within(GUARD * len(data) / 1e6, lambda: check(data))
