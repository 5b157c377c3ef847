"""The trouble that the stand-in makes, all of it repeatable from a seed."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random


@dataclass
class FaultPlan:
    """What is to go wrong. Everything may be changed while the stand-in runs; as made, nothing goes wrong.

    Attributes:
        seed: what the random generator starts from.
        lose: share of the notifications that are never sent.
        double: share of the notifications that are sent twice.
        delay: seconds that a notification waits before it is sent: at least, at most.
        reorder: notifications that wait together are shuffled.
        throttle: share of the mailbox requests that are answered with 429.
        unavailable: share of the mailbox requests that are answered with 503.
        retry_after: what those answers name in `Retry-After`.
        hidden_for: seconds after delivery in which a message is announced, yet cannot be seen.
        late_content: how many times the content of each message answers 404 before it is there.
        broken: immutable ids of messages whose content cannot be converted, ever.
        forbidden: immutable ids of messages whose content is answered with 403.
        missing: immutable ids of messages that are listed, and whose content is answered with 404.
        largest_page: a listing that asks for larger pages is answered with 504; 0: any size is fine.
        failing: immutable id to how many times its content still answers a passing 500.
        vary_boundaries: multipart content is built with new boundaries at each reading.
        cuts: how many of the next content answers break off half-way.
        cut_requests: how many of the next requests, whatever they ask, lose their connection without an answer.
        cut_answers: how many of the next requests to Graph are carried out, and then lose their connection unanswered.
        latency: seconds that each mailbox request takes.
        repeats: share of the items of a delta round that come twice.
        random: decides all of it.
    """

    seed: int = 0
    lose: float = 0.0
    double: float = 0.0
    delay: tuple[float, float] = (0.0, 0.0)
    reorder: bool = False
    throttle: float = 0.0
    unavailable: float = 0.0
    retry_after: int = 1
    hidden_for: float = 0.0
    late_content: int = 0
    broken: set[str] = field(default_factory=set)
    forbidden: set[str] = field(default_factory=set)
    missing: set[str] = field(default_factory=set)
    largest_page: int = 0
    failing: dict[str, int] = field(default_factory=dict)
    vary_boundaries: bool = False
    cuts: int = 0
    cut_requests: int = 0
    cut_answers: int = 0
    latency: float = 0.0
    repeats: float = 0.2
    random: Random = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.random = Random(self.seed)  # noqa: S311  chosen for being repeatable

    def chance(self, share: float) -> bool:
        """Whether something that befalls this share of cases befalls this one. No number is drawn for "never"."""
        return share > 0 and self.random.random() < share

    def cut_this_request(self) -> bool:
        """Whether this request is to lose its connection; counts it."""
        if self.cut_requests <= 0:
            return False
        self.cut_requests -= 1
        return True

    def cut_this_answer(self) -> bool:
        """Whether the answer to this request is to be lost; counts it."""
        if self.cut_answers <= 0:
            return False
        self.cut_answers -= 1
        return True

    def cut_this_content(self) -> bool:
        """Whether this content is to break off; counts it."""
        if self.cuts <= 0:
            return False
        self.cuts -= 1
        return True
