"""By what two messages are the same (docs/receipts.md, "Fingerprints"), in the one order in which claims are taken.

The order is what makes the claims hold: raw bytes, visible content, Message-ID. Those of the content and of the
Message-ID take their places behind `raw`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """One way in which a message may be the same as another.

    Attributes:
        kind: `raw`.
        digest: hex digits; equal for messages that are the same in this way.
    """

    kind: str
    digest: str


def fingerprints(message: str) -> tuple[Fingerprint, ...]:
    """All fingerprints of a message, in the order in which they are claimed.

    Args:
        message: its id, the SHA-256 of its bytes.
    """
    return (Fingerprint("raw", message),)
