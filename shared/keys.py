"""Digests as keys and path segments. Keys in tables may not contain all characters of addresses, folders and UIDLs."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache

SHORT = 12
"""Hex digits of a digest in a path."""

PARTITION = 1
"""The first digits of the keys of arrivals and outbox entries, which name their partition (`PARTITION_DIGITS`)."""

BATCH = 15
"""Hex digits that name a batch of arrivals in the keys of their outbox entries."""


_encode = json.JSONEncoder(ensure_ascii=False).encode
"""Encodes as JSON. `json.dumps` would build an encoder for each call."""


def digest(*parts: str) -> str:
    """Return the SHA-256 hex digest of an unambiguous (JSON) encoding of `parts`."""
    return hashlib.sha256(_encode(parts).encode("utf-8", "surrogatepass")).hexdigest()


def arrival_key(mailbox: str, folder: str, server_key: str) -> str:
    """Return the key of an arrival: one message in one place on one server (docs/explanation/receipts.md, "Terms").

    The first digit is that of the folder: all arrivals of a folder are in one partition.

    Args:
        mailbox: the mailbox's name in the settings.
        folder: the folder as the settings name it; empty if server keys are unique in the whole mailbox (Graph).
        server_key: `UIDVALIDITY.UID`, a UIDL, Graph's immutable id, or, without server keys, the digest of the bytes.
    """
    return _folder_partition(mailbox, folder) + digest("arrival", mailbox, folder, server_key)[PARTITION:]


@lru_cache(maxsize=64)
def _folder_partition(mailbox: str, folder: str) -> str:
    return digest("folder", mailbox, folder)[:PARTITION]


def reused_arrival_key(arrival: str, size: int, received: str) -> str:
    """Return the key of an arrival whose server key was another message's before. It is in the same partition.

    Args:
        arrival: the key of the earlier arrival.
        size: the message's size as the server reports it, in bytes.
        received: the time as the server reports it, or an empty string.
    """
    return arrival[:PARTITION] + digest(arrival, str(size), received)[PARTITION:]


def outbox_key(batch: str, arrival: str) -> str:
    """Return the key of a stored arrival's outbox entry, in the arrival's partition.

    Args:
        batch: `BATCH` hex digits. The entries of one route request have them in common.
        arrival: the arrival's key.
    """
    return arrival[:PARTITION] + batch + arrival[PARTITION + BATCH :]


def batch_prefix(key: str) -> str:
    """Return the digits that an outbox entry's key has in common with the others of its batch."""
    return key[: PARTITION + BATCH]


def replay_outbox_key(arrival: str, record: str, reissue: str) -> str:
    """Return the key of a replay's outbox entry, in the arrival's partition.

    Args:
        arrival: the arrival's key.
        record: the path of the record or result that the operator named.
        reissue: the id of the request for a new result; empty: none.
    """
    return arrival[:PARTITION] + digest("replay", arrival, record, reissue)[PARTITION:]


def claim_key(kind: str, fingerprint: str, recipient: str, position: int = 0) -> str:
    """Return the key of the claim on a fingerprint for a recipient.

    Args:
        kind: the fingerprint's kind.
        fingerprint: its digest.
        recipient: a normalised address, or `*`.
        position: the position in the list of claims on a Message-ID.
    """
    place = (str(position),) if position else ()
    return digest("claim", kind, fingerprint, recipient, *place)


def reissue_key(request: str, recipient: str) -> str:
    """Return the key of the claim on a result that a replay writes in place of a recipient's earlier result."""
    return digest("reissue", request, recipient)


def shorten(text: str) -> str:
    """Return the first hex digits of a text's digest, for a path."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:SHORT]
