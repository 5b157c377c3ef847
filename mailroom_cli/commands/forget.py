"""`mailroom forget`: mail removed for good, after a look at what would go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rich.console import Console

from shared.bootstrap import App
from shared.dispatch.artifacts import Artifacts
from shared.operations.erasure import Eraser, Group
from shared.operations.search import parse_id, parse_person
from shared.receipts import TRUNCATED
from shared.routing.model import ANY_RECIPIENT

BATCH = 2000
"""Messages that are removed while the mailboxes are held once. For each batch whole tables are read."""


@dataclass(slots=True)
class ErasureResult:
    """What went, or would go.

    Attributes:
        address: whom it is about; empty if it is about a message.
        groups: the messages.
        refused: those that cannot go now.
        found: what they left.
        unread: arrivals of which nobody knows whether they are about the address.
    """

    address: str
    groups: list[Group]
    refused: list[Group]
    found: list[Artifacts] = field(default_factory=list)
    unread: int = 0


def check_target(what: str) -> None:
    """Return if `what` is an id or an address.

    Raises:
        ConfigurationError: it is neither.
    """
    if "@" in what:
        parse_person(what)
    else:
        parse_id(what)


def forget(
    app: App, what: str, *, really: bool, progress: Callable[[int, int], None], waiting: Callable[[str], None]
) -> ErasureResult:
    """Look for what goes, and remove it if that is meant.

    Args:
        app: with the storage, and the mailboxes that are drained into it.
        what: an id, or an address.
        really: remove it.
        progress: told how many messages are done, of how many.
        waiting: told of a mailbox that has to be waited for.

    Raises:
        ConfigurationError: it is neither, or names several messages.
        MessageMissing: no message has this id.
        TransientError: the storage is ill, or a message changed meanwhile: the same request goes on from there.
    """
    forgetting = Eraser(app.storage, {*app.settings.mailboxes, *app.settings.faulty})
    address = parse_person(what) if "@" in what else ""
    groups = forgetting.by_address(address) if address else forgetting.by_id(parse_id(what))
    outcome = ErasureResult(address, [one for one in groups if not one.refused], [one for one in groups if one.refused])
    if not really and outcome.groups:
        outcome.found.append(forgetting.look(outcome.groups, address))
    for start in range(0, len(outcome.groups) if really else 0, BATCH):
        batch = outcome.groups[start : start + BATCH]
        outcome.found.append(forgetting.erase(batch, address, waiting))
        progress(start + len(batch), len(outcome.groups))
    outcome.unread = forgetting.unread() if address else 0
    return outcome


def show(outcome: ErasureResult, console: Console, *, really: bool) -> None:
    """List what went, or would go: paths one by one, records by number."""
    for found in outcome.found:
        for path in (*found.results, *found.records, *found.bytes):
            console.print(path, markup=False, highlight=False, soft_wrap=True)
    arrivals = sum(len(group.receipts) for group in outcome.groups)
    counts = [
        f"{arrivals} arrivals of {len(outcome.groups)} messages",
        f"{_count(outcome, 'results')} results",
        f"{_count(outcome, 'records')} records",
        f"{_count(outcome, 'bytes')} files of bytes",
        f"{_count(outcome, 'claims')} claims",
        f"{_count(outcome, 'conversations')} entries of conversations",
    ]
    if outcome.unread:
        console.print(
            f"{outcome.unread} arrivals are not routed yet, or failed: from whom and for whom they are is not known",
            highlight=False,
            soft_wrap=True,
        )
    if not outcome.groups:
        console.print("there is nothing to forget" + (" but what is named below" if outcome.refused else ""))
        return
    console.print(("forgotten: " if really else "would be forgotten: ") + ", ".join(counts), highlight=False)
    others = _others(outcome)
    if others:
        told = f"{len(others)} more, among them {', '.join(others[:5])}" if len(others) > 5 else ", ".join(others)  # noqa: PLR2004
        console.print(f"that is mail for others too, with their results: {told}", markup=False, highlight=False)
    kept = sorted({message for found in outcome.found for message in found.kept})
    for message in kept:
        console.print(
            f"message {message}: its bytes stay, since another arrival of it is not to be forgotten", highlight=False
        )
    if not really:
        console.print("nothing was changed; with --yes, all of this is removed for good")


def refusals(outcome: ErasureResult) -> list[str]:
    """A line for each message that cannot go now."""
    return [f"message {group.message}: {group.refused}" for group in outcome.refused]


def _count(outcome: ErasureResult, what: str) -> int:
    return sum(len(getattr(found, what)) for found in outcome.found)


def _others(outcome: ErasureResult) -> Sequence[str]:
    """Who else has a result that goes, where a person is to be forgotten."""
    if not outcome.address:
        return ()
    receipts = [receipt for group in outcome.groups for receipt in group.receipts]
    who = {who for receipt in receipts for who in receipt.results()}
    # Some receipts have no room for everybody: that there are more is all that is known here.
    who |= {TRUNCATED for receipt in receipts if TRUNCATED in receipt.outcomes}
    return sorted(who - {outcome.address, ANY_RECIPIENT})
