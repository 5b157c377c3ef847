"""The parser under atheris: `python -m tests.fuzz.parse FOLDER [libFuzzer's options]`.

What was interesting is kept in the folder's `corpus`, which begins as generated mail; what failed lies beside it.
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
from pathlib import Path

import atheris  # type: ignore[import-untyped]

with atheris.instrument_imports(include=["shared.mail"]):
    from shared.mail.as_json import as_json
    from shared.mail.buffer import Buffer
    from shared.mail.defects import MOST
    from shared.mail.message import read_message

from tests.unit.mail.samples import sample

SEEDS = 300
LONGEST = 32_768
TIMEOUT = 10
"""Seconds for one input; instrumented code is several times slower than the same code at work."""

WORDS = Path(__file__).with_name("words.txt")


def one(data: bytes) -> None:
    """Read an input without `parse`'s safety net, and hold what must be true of any."""
    message = read_message(Buffer(data))
    json.dumps(as_json(message), ensure_ascii=False).encode()
    assert message.size == len(data)
    assert len(message.defects) <= MOST + 1
    taken: set[str] = set()
    for number, attachment in enumerate(message.attachments, 1):
        content = b"".join(attachment.chunks())
        assert attachment.number == number
        assert attachment.size == len(content)
        assert attachment.sha256 == hashlib.sha256(content).hexdigest()
        assert len(attachment.safe_name.encode()) <= 120
        assert attachment.safe_name.casefold() not in taken
        taken.add(attachment.safe_name.casefold())


def main() -> None:
    """Fuzz for as long as libFuzzer is told to."""
    folder = Path(sys.argv[1])
    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    if not any(corpus.iterdir()):
        source = random.Random(1)
        for number in range(SEEDS):
            (corpus / f"seed-{number}").write_bytes(sample(source, source.choice([500, 2_000, 5_000])))
    options = [f"-artifact_prefix={folder}/", f"-dict={WORDS}", f"-max_len={LONGEST}", f"-timeout={TIMEOUT}"]
    atheris.Setup([sys.argv[0], *options, *sys.argv[2:], str(corpus)], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
