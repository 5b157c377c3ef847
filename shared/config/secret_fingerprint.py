"""Fingerprints of secrets, which show that a secret changed and nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

DIGITS = 16
"""Hex digits of a fingerprint."""

# About 20 ms and 8 MB: slow enough to make guessing from a stored fingerprint useless, fast enough for 50 mailboxes.
_COST, _BLOCK = 2**13, 8


def fingerprint(salt: str, parts: Sequence[str]) -> str:
    """Return 16 hex digits that depend on the salt and on every part, by scrypt (RFC 7914). Computed once a process."""
    # With their lengths: moving a character from one part to the next is a change too.
    return _derive(salt, "".join(f"{len(part)}:{part}" for part in parts))


@lru_cache(maxsize=1024)
def _derive(salt: str, text: str) -> str:
    digest = hashlib.scrypt(
        text.encode("utf-8", "surrogatepass"),
        salt=b"mailroom sign-in " + salt.encode("utf-8"),
        n=_COST,
        r=_BLOCK,
        p=1,
        dklen=DIGITS // 2,
    )
    return digest.hex()


def file_content(path: Path | None) -> str:
    """Return a file's content in hex, so that a renewed certificate with the same name counts; "" if unreadable."""
    if path is None:
        return ""
    try:
        return path.read_bytes().hex()
    except OSError:
        return ""
