"""The faults that the simulator injects, reproducible by a seed."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random


@dataclass
class FaultPlan:
    """The faults to inject. The default injects none. All attributes may change while the simulator runs.

    A share is a number from 0 to 1. A counter of the next requests goes down by one with each fault.

    Attributes:
        seed: seed of the random generator.
        lose: share of the notifications that are never sent.
        duplicate: share of the notifications that are sent twice.
        delay: minimum and maximum seconds before a notification is sent.
        reorder: whether notifications that are due together are shuffled.
        throttle: share of the mailbox requests that are answered with 429.
        unavailable: share of the mailbox requests that are answered with 503.
        retry_after: seconds in the `Retry-After` of those responses.
        hidden_for: seconds after delivery for which a message causes a notification but is not visible.
        late_content: number of times that each message's content is answered with 404 before it is returned.
        unconvertible: immutable ids of messages whose content can never be converted to MIME.
        forbidden: immutable ids of messages whose content is answered with 403.
        missing: immutable ids of messages that are listed and whose content is answered with 404.
        max_page_size: a listing that asks for larger pages is answered with 504; 0: no limit.
        failing: number of times that a message's content is still answered with 500, by immutable id.
        vary_boundaries: whether multipart content gets new boundaries each time it is read.
        truncate_content: number of the next content responses that end halfway.
        drop_requests: number of the next requests whose connection is closed before they are processed.
        drop_responses: number of the next Graph requests that are processed and get no response.
        latency: seconds that each mailbox request takes.
        repeat: share of the entries of a delta round that are returned twice.
        random: the random generator.
    """

    seed: int = 0
    lose: float = 0.0
    duplicate: float = 0.0
    delay: tuple[float, float] = (0.0, 0.0)
    reorder: bool = False
    throttle: float = 0.0
    unavailable: float = 0.0
    retry_after: int = 1
    hidden_for: float = 0.0
    late_content: int = 0
    unconvertible: set[str] = field(default_factory=set)
    forbidden: set[str] = field(default_factory=set)
    missing: set[str] = field(default_factory=set)
    max_page_size: int = 0
    failing: dict[str, int] = field(default_factory=dict)
    vary_boundaries: bool = False
    truncate_content: int = 0
    drop_requests: int = 0
    drop_responses: int = 0
    latency: float = 0.0
    repeat: float = 0.2
    random: Random = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.random = Random(self.seed)  # noqa: S311  must be reproducible

    def chance(self, share: float) -> bool:
        """Return True with a probability of `share`. A share of 0 does not advance the random generator."""
        return share > 0 and self.random.random() < share

    def take_dropped_request(self) -> bool:
        """Return whether to drop this request, and count it."""
        if self.drop_requests <= 0:
            return False
        self.drop_requests -= 1
        return True

    def take_dropped_response(self) -> bool:
        """Return whether to drop the response to this request, and count it."""
        if self.drop_responses <= 0:
            return False
        self.drop_responses -= 1
        return True

    def take_truncated_content(self) -> bool:
        """Return whether to truncate this content, and count it."""
        if self.truncate_content <= 0:
            return False
        self.truncate_content -= 1
        return True
