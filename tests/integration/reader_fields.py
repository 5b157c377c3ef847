"""Comparable values of the fields that Mailroom and two other readers read."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from shared.mime.html_text import html_to_text
from shared.mime.parser import Message
from tests.servers.node_server import link_parsers

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "tests" / "servers" / "other_readers.mjs"

READERS: Final = ("mailparser", "postal-mime")
FIELDS: Final = ("subject", "from", "to", "cc", "date", "text", "words", "html", "attachments")

Values = dict[str, Any]
"""The comparable value of each field. An empty value means that the message has no such field."""

_C1: Final = {code: bytes([code]).decode("cp1252", "ignore") or chr(code) for code in range(0x80, 0xA0)}
_ISO_DATE: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\.\d+Z")


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A field of a message that another reader reads differently.

    Attributes:
        id: the origin of the message (`reader_corpus`).
        mail: the message.
        message: the message as Mailroom reads it.
        reader: the other reader's name.
        field: the field's name, or "error" if the other reader refuses the message.
        ours: our value.
        theirs: the other reader's value.
        values: all values of the other reader.
    """

    id: str
    mail: bytes
    message: Message
    reader: str
    field: str
    ours: Any
    theirs: Any
    values: Values

    def __str__(self) -> str:
        return f"{self.id}\n  {self.field}, {self.reader}: {self.ours!r:.300}\n  theirs: {self.theirs!r:.300}"


def read_with_others(folder: Path, mails: Iterable[bytes]) -> list[dict[str, Any]]:
    """Return the values of the other readers for each message, by reader; all in one process."""
    (folder / SCRIPT.name).symlink_to(SCRIPT)
    link_parsers(folder)
    file = folder / "messages"
    with file.open("wb") as out:
        for mail in mails:
            out.write(len(mail).to_bytes(4, "big") + mail)
    # mailparser and postal-mime read dates without a zone as local time.
    environment = {**os.environ, "TZ": "UTC"}
    command = ["node", "--preserve-symlinks-main", "--preserve-symlinks", str(folder / SCRIPT.name), str(file)]
    process = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert process.returncode == 0, process.stderr
    return [json.loads(line) for line in process.stdout.split("\n") if line]


def our_values(message: Message) -> Values:
    """Return the values that Mailroom reads."""
    return {
        "subject": plain(message.subject),
        "from": [(plain(author.name), comparable_address(author.address or "")) for author in message.from_],
        "to": [comparable_address(address.address) for address in message.to],
        "cc": [comparable_address(address.address) for address in message.cc],
        "date": message.sent.strftime("%Y-%m-%dT%H:%M:%S") if message.sent else None,
        "text": bool(message.text.strip()),
        "words": plain(message.text).split(" "),
        "html": message.html is not None,
        "attachments": sorted((plain(file.name), file.size, file.sha256) for file in message.attachments),
    }


def their_values(read: dict[str, Any]) -> Values:
    """Return the values that another reader reads."""
    date = _ISO_DATE.fullmatch(read["date"] or "")
    return {
        "subject": plain(read["subject"]),
        "from": [(plain(name), comparable_address(address)) for name, address in read["from"]],
        "to": [comparable_address(address) for _, address in read["to"]],
        "cc": [comparable_address(address) for _, address in read["cc"]],
        "date": date[1] if date else None,
        "text": bool(read["text"].strip()),
        "words": plain(read["text"]).split(" "),
        "html": read["html"],
        "attachments": sorted((plain(name), size, digest) for name, size, digest in read["attachments"]),
    }


def compared_fields(message: Message, ours: Values, theirs: Values) -> Sequence[str]:
    """Return the fields that Mailroom or the other reader has read.

    Words are compared if both have a text, and ours is not made from HTML: `test_html_words.py` compares such a text.
    """
    fields = [field for field in FIELDS if field != "words" and (ours[field] or theirs[field])]
    both = ours["text"] and theirs["text"] and not is_made_from_html(message)
    return [*fields, "words"] if both else fields


def is_made_from_html(message: Message) -> bool:
    """Return whether a message's text is the text of its HTML."""
    return message.html is not None and message.text == html_to_text(message.html)


def plain(text: str) -> str:
    """Return text in NFC, with single spaces.

    C1 control characters are replaced by the characters of Windows-1252 first, as the Encoding Standard decodes
    ISO-8859-1. Node.js 20 keeps them (https://github.com/nodejs/node/issues/56542).
    """
    return " ".join(unicodedata.normalize("NFC", text.translate(_C1)).split())


def comparable_address(address: str) -> str:
    """Return an address with its domain in lower case and in Unicode."""
    local, at, domain = plain(address).rpartition("@")
    domain = domain.lower()
    if "xn--" in domain:
        with contextlib.suppress(UnicodeError):
            domain = domain.encode("ascii").decode("idna")
    return f"{local}{at}{domain}"
