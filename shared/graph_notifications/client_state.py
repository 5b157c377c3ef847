"""The `clientState` of a subscription, which proves that a notification is genuine and names a mailbox's folder.

Graph repeats a subscription's `clientState` in each of its notifications (Graph: subscription resource type). The form
is `v1.TOKEN.PROOF`. The token is a digest of mailbox and folder. The proof is an HMAC-SHA256 of `v1.TOKEN` with a key
from the settings. A forged notification is therefore detected without a request to Graph or storage. The folder is
taken from the authenticated part only.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

from shared.keys import SHORT, digest

VERSION: Final = "v1"

MAX_LENGTH: Final = 128
"""Characters that Graph allows in a `clientState`."""


def folder_token(mailbox: str, folder: str) -> str:
    """Return the 12 hex digits that identify a folder of a mailbox.

    Args:
        mailbox: the mailbox's name in the settings.
        folder: the folder's path in the settings.
    """
    return digest("place", mailbox, folder)[:SHORT]


def client_state(key: str, token: str) -> str:
    """Return the `clientState` of a subscription.

    Args:
        key: the signing key from the settings.
        token: the folder's `folder_token`.
    """
    signed = f"{VERSION}.{token}"
    return f"{signed}.{_proof(key, signed)}"


def verify(state: object, keys: Sequence[str]) -> str | None:
    """Return the folder token in a `clientState` that one of the keys proves, or None. Compares in constant time."""
    if not isinstance(state, str) or len(state) > MAX_LENGTH or not state.isascii():
        return None
    signed, _, proof = state.rpartition(".")
    version, _, token = signed.partition(".")
    matches = [hmac.compare_digest(proof, _proof(key, signed)) for key in keys]
    return token if any(matches) and version == VERSION else None


def key_name(key: str) -> str:
    """Return 12 hex digits that identify a key without revealing it."""
    return _proof(key, "the name of this key")[:SHORT]


def _proof(key: str, text: str) -> str:
    return hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest()
