"""Compare this tree with an earlier commit and two other parsers on 2,500 mixed messages, most of them with HTML."""

from __future__ import annotations

import base64
import io
import os
import quopri
import random
import re
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Self

from bench.child import ROOT
from bench.report import progress, table
from bench.running import Bench
from tests.unit.mime.tag_soup import tag_soup

COUNT = 2_500
MEAN_SIZE = 18_000
WORKER = Path(__file__).with_name("reader_worker.py")
NODE_WORKER = Path(__file__).with_name("mailparser_worker.mjs")

_CHARSETS = ("utf-8", "utf-8", "utf-8", "iso-8859-1", "windows-1252")
_HEAD = re.compile(r"</?head>")
_BINARY = random.Random(1).randbytes(60_000)


def readers(bench: Bench) -> None:
    """Print messages per second of CPU; `BENCH_BASE` names the commit to compare with (HEAD)."""
    base = os.environ.get("BENCH_BASE", "HEAD")
    file = bench.folder / "mixed.messages"
    size = write_messages(file)
    before = bench.folder / "before"
    archive = subprocess.run(["git", "archive", base, "shared"], capture_output=True, check=True, cwd=ROOT).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(before, filter="data")
    commands = {
        "Mailroom, this tree": ([sys.executable, str(WORKER), "mailroom", str(file)], {"PYTHONPATH": str(ROOT)}),
        f"Mailroom, {base}": ([sys.executable, str(WORKER), "mailroom", str(file)], {"PYTHONPATH": str(before)}),
        "email.policy.default": ([sys.executable, str(WORKER), "policy.default", str(file)], {}),
        "mailparser (Node.js)": (_node(bench.folder, file), {}),
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    with ExitStack() as stack:
        workers = {name: stack.enter_context(_Worker(command, env)) for name, (command, env) in commands.items()}
        for run in range(1, bench.runs + 1):
            for name, worker in workers.items():
                seconds[name].append(worker.round())
                progress(f"readers, run {run}: {name} {COUNT / seconds[name][-1]:.0f}/s")
    ours = median(seconds["Mailroom, this tree"])
    rows = [
        [name, f"{COUNT / median(runs):.0f}", f"{median(runs) / ours:.2f}"]
        for name, runs in sorted(seconds.items(), key=lambda entry: median(entry[1]))
    ]
    title = f"Reading {COUNT} mixed messages, {size / 1e6:.0f} MB, text from HTML included; medians of {bench.runs}"
    table(title, ["", "msg/s of CPU", "of this tree's time"], rows)


def write_messages(file: Path, *, seed: int = 0) -> int:
    """Write the messages, each after its length in four bytes, and return their total size in bytes."""
    source = random.Random(seed)
    total = 0
    with file.open("wb") as out:
        for number in range(COUNT):
            mail = mixed_mail(source, number)
            total += len(mail)
            out.write(len(mail).to_bytes(4, "big") + mail)
    return total


def mixed_mail(source: random.Random, number: int) -> bytes:
    """Return a message of 18 kB on average; 80 % have HTML, 60 % only HTML, and a quarter an attachment."""
    charset = source.choice(_CHARSETS)
    size = int(source.lognormvariate(8.6, 0.8))
    page, plain = "", ""
    while len(page) < size:
        # Well-formed pages without heads, since an earlier version ignores a body within a head and has less work.
        page += _HEAD.sub("", tag_soup(source.randrange(0, 3_000, 3)))
    while len(plain) < size // 6:
        plain += f"Line {len(plain)} of the text, with a few words, grün, and a number {source.random()}.\r\n"
    kind = source.random()
    parts = [_part("plain", plain, charset, source)]
    if kind < 0.8:
        html = _part("html", page, charset, source)
        parts = [_multipart("alternative", f"a{number}", [*parts, html])] if kind < 0.2 else [html]
    if source.random() < 0.25:
        data = _BINARY[: source.randrange(2_000, 40_000)]
        head = 'Content-Type: application/pdf; name="file.pdf"\r\nContent-Disposition: attachment; filename="file.pdf"'
        encoded = base64.encodebytes(data).decode("ascii").replace("\n", "\r\n")
        parts.append(f"{head}\r\nContent-Transfer-Encoding: base64\r\n\r\n{encoded}".encode())
    root = parts[0] if len(parts) == 1 else _multipart("mixed", f"m{number}", parts)
    lines = (
        f"Received: from a.example by mx{number % 9}.example.com for <desk@example.com>; Mon, 23 Nov 2026 08:00 +0000",
        f"DKIM-Signature: v=1; a=rsa-sha256; d=example.net; s=s1; h=from:to:subject; bh=abc=; b={'Ab1' * 60}",
        f"From: =?utf-8?q?J=C3=BCrgen?= Sender {number} <sender{number % 400}@example.net>",
        f"To: Desk <desk@example.com>, ann{number % 50}@example.com",
        f"Subject: =?utf-8?b?R3LDvMOfZQ==?= number {number}",
        f"Date: Mon, 23 Nov 2026 09:00:{number % 60:02} +0100",
        f"Message-ID: <{number}@example.net>",
        "MIME-Version: 1.0\r\n",
    )
    head = "\r\n".join(lines)
    return head.encode() + root


def _part(kind: str, text: str, charset: str, source: random.Random) -> bytes:
    encoding = source.choice(("quoted-printable", "quoted-printable", "8bit", "base64"))
    data = text.encode(charset, "replace")
    if encoding == "quoted-printable":
        data = quopri.encodestring(data).replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    elif encoding == "base64":
        data = base64.encodebytes(data).replace(b"\n", b"\r\n")
    head = f"Content-Type: text/{kind}; charset={charset}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n"
    return head.encode() + data


def _multipart(kind: str, boundary: str, parts: list[bytes]) -> bytes:
    delimiter = f"\r\n--{boundary}\r\n".encode()
    head = f'Content-Type: multipart/{kind}; boundary="{boundary}"\r\n\r\n'.encode()
    return head + b"".join(delimiter + part for part in parts) + f"\r\n--{boundary}--\r\n".encode()


def _node(folder: Path, file: Path) -> list[str]:
    """Return the command for mailparser; Node.js looks up ES modules only in the script's folder."""
    script = folder / NODE_WORKER.name
    script.symlink_to(NODE_WORKER)
    (folder / "node_modules").symlink_to(ROOT / ".tools" / "readers" / "node_modules")
    return ["node", "--preserve-symlinks-main", "--preserve-symlinks", str(script), str(file)]


class _Worker:
    """A process that parses all messages once for each call of `round`."""

    def __init__(self, command: list[str], environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment}
        )
        assert self._line() == "ready"

    def round(self) -> float:
        """Parse all messages and return the seconds of CPU."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return float(self._line())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._process.kill()
        self._process.communicate()

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        assert line, f"{self._process.args!r} ended"
        return line
