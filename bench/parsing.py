"""Measure parsing from bytes to JSON with digests, by Mailroom's parser and by common alternatives.

Alternatives that are not part of Python are installed into a separate folder at the first run.
"""

from __future__ import annotations

import base64
import gc
import hashlib
import json
import logging
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage
from functools import partial
from importlib import import_module, metadata
from statistics import median
from typing import Any

from bench.child import ROOT
from bench.report import progress, table
from bench.running import Bench
from shared.documents.message_document import message_fields
from shared.mime.parser import parse
from tests.unit.mime.samples import sample

COUNT = 1_000
_DAMAGED = 0.03
_PACKAGES = ("mail-parser", "fast-mail-parser")
_FOLDER = ROOT / ".tools" / f"parsers-{sys.version_info[0]}.{sys.version_info[1]}"

Reader = Callable[[bytes], str]


def parsing(bench: Bench) -> None:
    """Print messages per second of CPU, and the number of messages that a parser refused."""
    readers, missing = contenders()
    mails = list(mails_to_read(COUNT))
    seconds: dict[str, list[float]] = {name: [] for name in readers}
    refused: dict[str, int] = {}
    for run in range(1, bench.runs + 1):
        for name, reader in readers.items():
            took, refused[name] = _measure(reader, mails)
            seconds[name].append(took)
            progress(f"parsing, run {run}: {name} {COUNT / took:.0f}/s")
    rows = []
    ours = median(seconds["Mailroom"])
    for name, runs in seconds.items():
        took = median(runs)
        rows.append([name, f"{COUNT / took:.0f}", f"{took / ours:.1f}", str(refused[name])])
    rows += [[f"{name}: not installed, {reason}", "", "", ""] for name, reason in missing.items()]
    size = sum(map(len, mails)) / 1e6
    title = f"Parsing {COUNT} messages, {size:.0f} MB, to JSON with digests; medians of {bench.runs}, alternated"
    table(title, ["", "msg/s of CPU", "of Mailroom's time", "refused"], rows)


def mails_to_read(count: int, *, seed: int = 0) -> Iterator[bytes]:
    """Yield shuffled messages, a few of them damaged: 60 % of 5 to 20 kB, 30 % of 50 to 200 kB, 10 % of 1 MB."""
    source = random.Random(seed)
    sizes = [source.randrange(5_000, 20_000) for _ in range(count * 6 // 10)]
    sizes += [1_000_000] * (count // 10)
    sizes += [source.randrange(50_000, 200_000) for _ in range(count - len(sizes))]
    source.shuffle(sizes)
    for size in sizes:
        mail = sample(source, size)
        yield source.choice(_DAMAGES)(mail) if source.random() < _DAMAGED else mail


def _replace(old: bytes, new: bytes, mail: bytes) -> bytes:
    return mail.replace(old, new, 3)


_DAMAGES: tuple[Callable[[bytes], bytes], ...] = (
    lambda mail: mail[: len(mail) * 2 // 3],
    lambda mail: mail.replace(b"A", b"!A", 20),
    partial(_replace, b"charset=", b"charset=x-unknown-"),
    partial(_replace, b"Subject: ", b"Subject: \xe9\xe8 =?utf-8?q?=C3"),
    partial(_replace, b"boundary=", b"limit="),
    partial(_replace, b"charset=utf-8", b"charset=us-ascii"),
    partial(_replace, b"Date: Mon, 23 Nov", b"Date: Mon, 33 Nov"),
    partial(_replace, b"To: ", b"To: (, <@\r\nno field\r\nTo: "),
)


def contenders() -> tuple[dict[str, Reader], dict[str, str]]:
    """Return the parsers by name, and the reasons why others are missing."""
    readers: dict[str, Reader] = {"Mailroom": _mailroom, "email.policy.default": _policy_default}
    missing: dict[str, str] = {}
    install_error = _install()
    logging.getLogger("mailparser").setLevel(logging.CRITICAL)  # it logs a warning for every calendar
    if str(_FOLDER) not in sys.path:
        sys.path.append(str(_FOLDER))
    for package, module, read in (
        ("mail-parser", "mailparser", _mail_parser),
        ("fast-mail-parser", "fast_mail_parser", _fast_mail_parser),
    ):
        try:
            loaded = import_module(module)
        except ImportError as error:
            missing[package] = install_error or str(error)
        else:
            readers[f"{package} {metadata.version(package)}"] = partial(read, loaded)
    return readers, missing


def _install() -> str:
    """Install the alternatives once, and return an error; "" if they are installed."""
    if (_FOLDER / "installed").exists():
        return ""
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--target",
        str(_FOLDER),
    ]
    ran = subprocess.run([*command, *_PACKAGES], capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        return (ran.stderr.strip().splitlines() or ["pip failed"])[-1]
    (_FOLDER / "installed").touch()
    return ""


def _measure(read: Reader, mails: Iterable[bytes]) -> tuple[float, int]:
    """Return the seconds of CPU for all messages, and the number of messages for which the parser raised."""
    refused = 0
    gc.collect()
    began = time.process_time()
    for mail in mails:
        try:
            read(mail)
        except Exception:  # noqa: BLE001  every exception counts
            refused += 1
    return time.process_time() - began, refused


def _mailroom(data: bytes) -> str:
    return json.dumps(message_fields(parse(data)), ensure_ascii=False)


def _digest(name: str | None, kind: str, content: bytes) -> dict[str, object]:
    return {"name": name, "type": kind, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _policy_default(data: bytes) -> str:
    mail = message_from_bytes(data, policy=policy.default)
    assert isinstance(mail, EmailMessage)
    bodies = {kind: mail.get_body((kind,)) for kind in ("plain", "html")}
    chosen = {id(part) for part in bodies.values() if part is not None}
    addresses = {
        name: [str(address) for field in mail.get_all(name, []) for address in field.addresses]
        for name in ("from", "sender", "reply-to", "to", "cc", "bcc")
    }
    read = {
        "headers": [(name, str(value)) for name, value in mail.items()],
        "addresses": addresses,
        "text": bodies["plain"].get_content() if bodies["plain"] is not None else None,
        "html": bodies["html"].get_content() if bodies["html"] is not None else None,
        "attachments": [
            _digest(leaf.get_filename(), leaf.get_content_type(), _content(leaf))
            for leaf in _leaves(mail)
            if id(leaf) not in chosen
        ],
    }
    return json.dumps(read, ensure_ascii=False)


def _leaves(part: EmailMessage) -> Iterator[EmailMessage]:
    """Yield the parts that have content, including attached messages."""
    if part.get_content_maintype() == "multipart":
        for child in part.iter_parts():
            assert isinstance(child, EmailMessage)
            yield from _leaves(child)
    else:
        yield part


def _content(leaf: EmailMessage) -> bytes:
    content = leaf.get_content()
    if isinstance(content, EmailMessage):
        return content.as_bytes()
    return content.encode() if isinstance(content, str) else bytes(content)


def _mail_parser(module: Any, data: bytes) -> str:
    mail = module.parse_from_bytes(data)
    attachments = [
        _digest(
            attachment["filename"],
            attachment["mail_content_type"],
            base64.b64decode(attachment["payload"]) if attachment["binary"] else attachment["payload"].encode(),
        )
        for attachment in mail.attachments
    ]
    read = {
        "headers": mail.headers,
        "addresses": {"from": mail.from_, "to": mail.to, "cc": mail.cc, "bcc": mail.bcc, "reply_to": mail.reply_to},
        "date": str(mail.date),
        "subject": mail.subject,
        "text": mail.text_plain,
        "html": mail.text_html,
        "attachments": attachments,
    }
    return json.dumps(read, ensure_ascii=False)


def _fast_mail_parser(module: Any, data: bytes) -> str:
    mail = module.parse_email(data)
    read = {
        "headers": mail.headers,
        "date": mail.date,
        "subject": mail.subject,
        "text": mail.text_plain,
        "html": mail.text_html,
        "attachments": [_digest(item.filename, item.mimetype, item.content) for item in mail.attachments],
    }
    return json.dumps(read, ensure_ascii=False)
