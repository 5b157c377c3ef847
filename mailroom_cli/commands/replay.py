"""`mailroom replay`: have arrivals routed anew, by the records that they left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from uuid import uuid4

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table as Shown
from rich.text import Text

from shared.bootstrap import App
from shared.clock import utc_now
from shared.errors import ConfigurationError, MessageUnreadable
from shared.operations.replay import ReplayRequests, StoredRecord, parse_kind
from shared.operations.replay_preview import PreviewedOutcome, preview_replay
from shared.storage.base import Table

AT_ONCE = 16
"""Records read at once: what one client of the storage does best with."""

UNTOLD: PreviewedOutcome = "settings wrong"
"""What a dry run says of mail whose routes it cannot know."""

BATCH = 512
"""Records announced together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayOptions:
    """What somebody asks to be replayed.

    Attributes:
        records: paths, or how they begin; empty: those of a range.
        since: the first day of the range, UTC.
        until: its last day.
        kind: of the range, records of this kind only.
        mailbox: of the range, records of this mailbox only.
        dry_run: say what would be done, and do nothing.
        reissue: write new results in place of the results that are named.
    """

    records: Sequence[str] = ()
    since: date | None = None
    until: date | None = None
    kind: str | None = None
    mailbox: str | None = None
    dry_run: bool = False
    reissue: bool = False

    def check(self) -> None:
        """See whether it makes sense.

        Raises:
            ConfigurationError: it does not.
        """
        ranged = self.since is not None or self.until is not None
        if ranged == bool(self.records):
            raise ConfigurationError("either RECORD, or --since and --until: which are to be replayed?")
        if self.records and (self.kind or self.mailbox):
            raise ConfigurationError("--kind and --mailbox go with --since and --until; a RECORD's path names both")
        if self.reissue and not self.records:
            raise ConfigurationError("--reissue wants the results named, by their paths or how those begin")
        if self.since is not None and self.until is not None and self.since > self.until:
            raise ConfigurationError("--since is after --until")


@dataclass(slots=True)
class ReplayResult:
    """What was found, and done.

    Attributes:
        wanted: by kind, mailbox and, in a dry run, what would become: how many.
        resolved: records that are left, since they are resolved already.
        failures: what could not be asked for, and why.
    """

    wanted: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    resolved: int = 0
    failures: list[str] = field(default_factory=list)


def replay(app: App, wanted: ReplayOptions, progress: Callable[[int, int], None]) -> ReplayResult:
    """Find what is asked for, and announce it.

    Args:
        app: with the storage; in a dry run, its routes count too.
        wanted: what is asked for.
        progress: told how many records are done, of how many.

    Raises:
        ConfigurationError: it makes no sense.
        MessageMissing: a record that was named is not there.
        TransientError: the storage is ill; what was announced until then is replayed.
    """
    wanted.check()
    replays = ReplayRequests(app.storage, utc_now)
    if wanted.records:
        paths = [path for record in wanted.records for path in replays.resolve_paths(record, reissue=wanted.reissue)]
    else:
        paths = list(replays.list_records(parse_kind(wanted.kind), wanted.mailbox, wanted.since, wanted.until))
    paths = list(dict.fromkeys(paths))
    reissue = uuid4().hex if wanted.reissue else ""
    outcome = ReplayResult()
    seen: set[str] = set()
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="replay") as several:
        for start in range(0, len(paths), BATCH):
            batch = paths[start : start + BATCH]
            found = list(_open(several.map(lambda path: _read(replays, path), batch), wanted, outcome))
            # Two records of one arrival are one replay; two results of it are two.
            fresh = {one.path if reissue else one.arrival: one for one in found}
            chosen = [one for key, one in fresh.items() if key not in seen]
            seen.update(fresh)
            lost = replays.not_routable(chosen)
            outcome.failures += [f"{path}: its arrival has no receipt, or was forgotten" for path in sorted(lost)]
            chosen = [one for one in chosen if one.path not in lost]
            if wanted.dry_run:
                became = several.map(lambda one: _foreseen(app, one, wanted), chosen)
                outcome.wanted.update((one.kind, one.mailbox, what) for one, what in zip(chosen, became, strict=True))
            else:
                replays.request(chosen, reissue=reissue)
                outcome.wanted.update((one.kind, one.mailbox, "") for one in chosen)
            progress(start + len(batch), len(paths))
    return outcome


def show(outcome: ReplayResult, wanted: ReplayOptions, console: Console) -> None:
    """Say what was done, or would be."""
    if outcome.wanted:
        table = Shown("kind", "mailbox", "messages", *(["would become"] if wanted.dry_run else []), box=SIMPLE)
        for (kind, mailbox, became), count in sorted(outcome.wanted.items()):
            row = (kind, mailbox, str(count), *([became] if wanted.dry_run else []))
            table.add_row(*map(Text, row))
        console.print(table)
    for mailbox in sorted({mailbox for _, mailbox, became in outcome.wanted if became == UNTOLD}):
        console.print(
            f"mailbox {mailbox}: what would become cannot be told here, its settings or its routes are wrong: "
            f"`mailroom check {mailbox}` says how; any PASSWORD will do, no mailbox is asked"
        )
    if outcome.resolved:
        console.print(f"{outcome.resolved} records are resolved already, and left as they are")
    count = outcome.wanted.total()
    if not count:
        console.print("there is nothing to replay")
    elif wanted.dry_run:
        console.print(f"nothing was changed; without --dry-run, {count} messages are routed anew")
    else:
        console.print(f"{count} messages are announced: the app, or the next `mailroom run-once`, routes them anew")
    if wanted.reissue and count:
        console.print(
            "each gives a new result, if a route of today takes it: consumers see it as a new event, and may do their "
            "work a second time"
        )


def _read(replays: ReplayRequests, path: str) -> StoredRecord | str:
    try:
        return replays.read_record(path) or f"{path} is gone"
    except MessageUnreadable as error:
        return str(error)


def _open(read: Iterable[StoredRecord | str], wanted: ReplayOptions, outcome: ReplayResult) -> Iterator[StoredRecord]:
    """Those that are to be replayed. A resolved one is, if its own path was given: somebody means it."""
    for one in read:
        if isinstance(one, str):
            outcome.failures.append(one)
        elif one.is_unresolved or one.path in wanted.records:
            yield one
        else:
            outcome.resolved += 1


def _foreseen(app: App, one: StoredRecord, wanted: ReplayOptions) -> str:
    record = app.storage.records.get(Table.RECEIPTS, one.arrival)
    return (
        "bytes missing"
        if record is None
        else preview_replay(app.router, record, reissue=one.path if wanted.reissue else "")
    )
