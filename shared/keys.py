"""Digests as keys and path segments. Keys in tables may not contain all characters of addresses, folders and UIDLs."""

from __future__ import annotations

import hashlib
import json

SHORT = 12
"""Hex digits of a digest in a path."""


def digest(*parts: str) -> str:
    """Return the SHA-256 hex digest of an unambiguous (JSON) encoding of `parts`."""
    return hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode("utf-8", "surrogatepass")).hexdigest()


def arrival_key(mailbox: str, folder: str, server_key: str) -> str:
    """Return the key of an arrival: one message in one place on one server (docs/explanation/receipts.md, "Terms").

    Args:
        mailbox: the mailbox's name in the settings.
        folder: the folder as the settings name it; empty if server keys are unique in the whole mailbox (Graph).
        server_key: `UIDVALIDITY.UID`, a UIDL, Graph's immutable id, or, without server keys, the digest of the bytes.
    """
    return digest("arrival", mailbox, folder, server_key)


def claim_key(kind: str, fingerprint: str, recipient: str, position: int = 0) -> str:
    """Return the key of the claim on a fingerprint for a recipient. All claims on a fingerprint are in one partition.

    Args:
        kind: the fingerprint's kind.
        fingerprint: its digest.
        recipient: a normalised address, or `*`.
        position: the position in the list of claims on a Message-ID.
    """
    place = (str(position),) if position else ()
    return digest("claim", kind, fingerprint) + digest("claim", recipient, *place)


def reissue_key(request: str, recipient: str) -> str:
    """Return the key of the claim on a result that a replay writes in place of a recipient's earlier result."""
    return digest("reissue", request, recipient)


def shorten(text: str) -> str:
    """Return the first hex digits of a text's digest, for a path."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:SHORT]
