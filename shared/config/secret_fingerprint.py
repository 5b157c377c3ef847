"""Fingerprints of secrets, which show that a secret changed and nothing else."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

DIGITS = 16
"""Hex digits of a fingerprint."""

# About 20 ms and 8 MB: slow enough to make guessing from a stored fingerprint useless, fast enough for 50 mailboxes.
_COST, _BLOCK = 2**13, 8


@lru_cache(maxsize=1024)
def fingerprint(salt: str, parts: tuple[str, ...]) -> str:
    """Return 16 hex digits that depend on the salt and on every part, by scrypt (RFC 7914). Computed once a process."""
    # With their lengths: moving a character from one part to the next is a change too.
    data = "".join(f"{len(part)}:{part}" for part in parts).encode("utf-8", "surrogatepass")
    whole_salt = b"mailroom sign-in " + salt.encode("utf-8")
    return hashlib.scrypt(data, salt=whole_salt, n=_COST, r=_BLOCK, p=1, dklen=DIGITS // 2).hex()


def file_content(path: Path | None) -> str:
    """Return a file's content in hex, so that a renewed certificate with the same name counts; "" if unreadable."""
    try:
        return path.read_bytes().hex() if path is not None else ""
    except OSError:
        return ""
