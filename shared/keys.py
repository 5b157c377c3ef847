"""Digests that name things: keys in tables may not hold all that addresses, folders and UIDLs may."""

from __future__ import annotations

import hashlib
import json

SHORT = 12
"""Hex digits of a digest that a path carries."""


def digest(*parts: str) -> str:
    """SHA-256, in hex, of a list of texts that no other list of texts shares the encoding of."""
    return hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode("utf-8", "surrogatepass")).hexdigest()


def arrival_key(mailbox: str, folder: str, server_key: str) -> str:
    """The key of one message in one place on one server (docs/explanation/receipts.md, "Terms").

    Args:
        mailbox: the mailbox's name in the settings.
        folder: the folder as the settings name it; empty where keys are the whole mailbox's (Graph).
        server_key: `UIDVALIDITY.UID`, a UIDL, Graph's immutable id, or the digest of the bytes where there are no keys.
    """
    return digest("arrival", mailbox, folder, server_key)


def claim_key(kind: str, fingerprint: str, recipient: str) -> str:
    """The key of the claim on a fingerprint for a recipient."""
    return digest("claim", kind, fingerprint, recipient)


def reissue_key(request: str, recipient: str) -> str:
    """The key of the claim on what a replay writes for a recipient in place of an earlier result."""
    return digest("again", request, recipient)


def shorten(text: str) -> str:
    """The first digits of a digest of a text, as paths carry them."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:SHORT]
