"""The proof that a notification is meant for us, and which folder of which mailbox it is about.

A subscription's `clientState` comes back with each of its notifications (Graph: subscription resource type). Ours is
`v1.PLACE.PROOF`: the place is a digest of mailbox and folder, the proof an HMAC-SHA256 of what stands before it, by a
key from the settings. So a notification is told from a forged one without asking anybody, and what it is about is taken
from the proven part alone.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

from shared.keys import SHORT, digest

VERSION: Final = "v1"

LONGEST: Final = 128
"""Characters that Graph allows a `clientState`."""


def folder_token(mailbox: str, folder: str) -> str:
    """12 hex digits that stand for a folder of a mailbox.

    Args:
        mailbox: its name in the settings.
        folder: its path in the settings.
    """
    return digest("place", mailbox, folder)[:SHORT]


def client_state(key: str, where: str) -> str:
    """The state of a subscription.

    Args:
        key: from the settings.
        where: what `folder_token` gave.
    """
    told = f"{VERSION}.{where}"
    return f"{told}.{_proof(key, told)}"


def verify(state: object, keys: Sequence[str]) -> str | None:
    """The place that a state names, if one of the keys proves it. Compared in constant time."""
    if not isinstance(state, str) or len(state) > LONGEST or not state.isascii():
        return None
    told, _, proof = state.rpartition(".")
    version, _, where = told.partition(".")
    good = [hmac.compare_digest(proof, _proof(key, told)) for key in keys]
    return where if any(good) and version == VERSION else None


def key_name(key: str) -> str:
    """12 hex digits by which a key is told from another, and which tell nothing of it."""
    return _proof(key, "the name of this key")[:SHORT]


def _proof(key: str, text: str) -> str:
    return hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest()
