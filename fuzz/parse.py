"""Fuzz the parser with atheris: `python -m fuzz.parse FOLDER [libFuzzer's options]`.

FOLDER/corpus has the corpus: it starts with the messages of `seeds`, and inputs that reach new code are added. Inputs
that fail are stored in FOLDER.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import atheris  # type: ignore[import-untyped]

with atheris.instrument_imports(include=["shared.mime"]):
    from shared.documents.message_document import message_fields
    from shared.mime.buffer import Buffer
    from shared.mime.defects import MAX_DEFECTS
    from shared.mime.parser import read_message

from fuzz.seeds import LONGEST, write_seeds

TIMEOUT = 10
"""Seconds for an input; instrumented code is several times slower than normal code."""

SPECIAL = (
    b"Subject: x\n\nhello\nbegin 644 a.bin\n%:&5L;&\\\n`\nend\nbye\n",
    b"Content-Type: text/plain; format=flowed; delsp=yes\n\n> one \n> two\n three \nfour\n-- \nname\n",
    b"Content-Type: a/b\nContent-Transfer-Encoding: x-uuencode\n\nbegin 644 a.bin\n%:&5L;&\\\n`\nend\n",
    (
        b"Subject: Undelivered\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\n\n"
        b"--b\n\nnot delivered\n--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx.example.com\n\n"
        b"Final-Recipient: rfc822; a@b.example\nAction: failed\nStatus: 5.1.1\n--b\nContent-Type: message/rfc822\n\n"
        b"Message-ID: <1@b.example>\nSubject: x\n\ny\n--b--\n"
    ),
    b"Auto-Submitted: auto-replied\nPrecedence: bulk\nList-Id: <l.example.com>\nX-Auto-Response-Suppress: All\n\nx\n",
    b"A: b\rContent-Type: multipart/digest; boundary=b\r\r--b\r\rSubject: x\r\ry\r--b--\r",
    b'From a@b.example Mon Nov 23\nTo: "A, B" <a@b.example>, team: c@d.example, <@e,@f:g@h.example>;\n\n\xe9\xe8\n',
)

WORDS = Path(__file__).with_name("words.txt")


def check_input(data: bytes) -> None:
    """Parse an input without the error handling of `parse`, and assert the invariants of every message."""
    message = read_message(Buffer(data))
    json.dumps(message_fields(message), ensure_ascii=False).encode()
    assert message.size == len(data)
    assert len(message.defects) <= MAX_DEFECTS + 1
    names: set[str] = set()
    for number, attachment in enumerate(message.attachments, 1):
        content = b"".join(attachment.chunks())
        assert attachment.number == number
        assert attachment.size == len(content)
        assert attachment.sha256 == hashlib.sha256(content).hexdigest()
        assert len(attachment.safe_name.encode()) <= 120
        assert attachment.safe_name.casefold() not in names
        names.add(attachment.safe_name.casefold())


def main() -> None:
    """Fuzz until libFuzzer's options end the run."""
    folder = Path(sys.argv[1])
    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    if not any(corpus.glob("seed-*")):
        write_seeds(corpus)
        for number, seed in enumerate(SPECIAL):
            (corpus / f"seed-{number}").write_bytes(seed)
    options = [f"-artifact_prefix={folder}/", f"-dict={WORDS}", f"-max_len={LONGEST}", f"-timeout={TIMEOUT}"]
    atheris.Setup([sys.argv[0], *options, *sys.argv[2:], str(corpus)], check_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
