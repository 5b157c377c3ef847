"""`mailroom replay`: route stored messages again, selected by their records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from uuid import uuid4

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from shared.bootstrap import App
from shared.clock import utc_now
from shared.errors import ConfigurationError, MessageUnreadable
from shared.operations.replay import ReplayRequests, StoredRecord, parse_kind
from shared.operations.replay_preview import PreviewedOutcome, preview_replay
from shared.storage.base import Table as StorageTable

THREADS = 16
"""Records read at once; one storage client gains nothing from more."""

BATCH = 512
"""Records whose replay is requested together."""

UNKNOWN_OUTCOME: PreviewedOutcome = "invalid settings"
"""The outcome that a dry run shows for messages whose routes are invalid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayOptions:
    """The options of a replay.

    Attributes:
        records: paths of records, or the beginning of their paths; empty if a range is replayed.
        since: first day of the range, UTC.
        until: last day of the range, UTC.
        kind: only records of this kind in the range.
        mailbox: only records of this mailbox in the range.
        dry_run: preview the outcomes and change nothing.
        reissue: write new results that replace the named results.
    """

    records: Sequence[str] = ()
    since: date | None = None
    until: date | None = None
    kind: str | None = None
    mailbox: str | None = None
    dry_run: bool = False
    reissue: bool = False

    def check(self) -> None:
        """Check that the options fit together.

        Raises:
            ConfigurationError: they contradict each other, or select nothing.
        """
        has_range = self.since is not None or self.until is not None
        if has_range == bool(self.records):
            raise ConfigurationError("select the messages to replay: either by RECORD, or by --since and --until")
        if self.records and (self.kind or self.mailbox):
            raise ConfigurationError(
                "--kind and --mailbox work only with --since and --until; the path of a RECORD contains both"
            )
        if self.reissue and not self.records:
            raise ConfigurationError("--reissue needs the results: name their paths, or the beginning of their paths")
        if self.since is not None and self.until is not None and self.since > self.until:
            raise ConfigurationError("--since is after --until: swap the two days")


@dataclass(slots=True)
class ReplayResult:
    """The result of a replay or a dry run.

    Attributes:
        counts: number of messages by kind, mailbox and, in a dry run, outcome.
        resolved: number of records that were not replayed, since they are already resolved.
        failures: a line for each record that could not be replayed.
    """

    counts: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    resolved: int = 0
    failures: list[str] = field(default_factory=list)


def replay(app: App, options: ReplayOptions, progress: Callable[[int, int], None]) -> ReplayResult:
    """Find the selected records, and request the replay of their arrivals.

    Args:
        app: supplies the storage and, in a dry run, the routes.
        options: selects the records.
        progress: called with the number of finished records and the total.

    Raises:
        ConfigurationError: the options are invalid.
        MessageMissing: a named record does not exist.
        TransientError: the storage failed; replays requested until then stay requested.
    """
    options.check()
    requests = ReplayRequests(app.storage, utc_now)
    if options.records:
        paths = [path for record in options.records for path in requests.resolve_paths(record, reissue=options.reissue)]
    else:
        paths = list(requests.list_records(parse_kind(options.kind), options.mailbox, options.since, options.until))
    paths = list(dict.fromkeys(paths))
    reissue = uuid4().hex if options.reissue else ""
    result = ReplayResult()
    seen: set[str] = set()
    with ThreadPoolExecutor(THREADS, thread_name_prefix="replay") as pool:
        for start in range(0, len(paths), BATCH):
            batch = paths[start : start + BATCH]
            records = _select(pool.map(lambda path: _read(requests, path), batch), options, result)
            # Two records of an arrival are one replay; two results of an arrival are two reissues.
            by_key = {record.path if reissue else record.arrival: record for record in records}
            selected = [record for key, record in by_key.items() if key not in seen]
            seen.update(by_key)
            lost = requests.not_routable(selected)
            result.failures += [f"{path}: its arrival has no receipt, or was erased" for path in sorted(lost)]
            selected = [record for record in selected if record.path not in lost]
            if options.dry_run:
                outcomes = pool.map(lambda record: _preview(app, record, options), selected)
                result.counts.update(
                    (record.kind, record.mailbox, outcome) for record, outcome in zip(selected, outcomes, strict=True)
                )
            else:
                requests.request(selected, reissue=reissue)
                result.counts.update((record.kind, record.mailbox, "") for record in selected)
            progress(start + len(batch), len(paths))
    return result


def show(result: ReplayResult, options: ReplayOptions, console: Console) -> None:
    """Print the number of messages that are replayed, or the outcomes of a dry run."""
    if result.counts:
        table = Table("kind", "mailbox", "messages", *(["new outcome"] if options.dry_run else []), box=SIMPLE)
        for (kind, mailbox, outcome), count in sorted(result.counts.items()):
            row = (kind, mailbox, str(count), *([outcome] if options.dry_run else []))
            table.add_row(*map(Text, row))
        console.print(table)
    for mailbox in sorted({mailbox for _, mailbox, outcome in result.counts if outcome == UNKNOWN_OUTCOME}):
        console.print(
            f"mailbox {mailbox}: its new outcomes are unknown, since its settings or routes are invalid: run "
            f"`mailroom check {mailbox}`; replay does not use PASSWORD, so that any value will do"
        )
    if result.resolved:
        console.print(f"{result.resolved} records are already resolved and were not replayed")
    count = result.counts.total()
    if not count:
        console.print("nothing to replay")
    elif options.dry_run:
        console.print(f"nothing was changed; without --dry-run, {count} messages are routed again")
    else:
        console.print(
            f"the replay of {count} messages is requested: the app, or the next `mailroom run-once`, routes them again"
        )
    if options.reissue and count:
        console.print(
            "each message that a current route takes gets a new result: consumers see it as a new event and may "
            "process the message a second time"
        )


def _read(requests: ReplayRequests, path: str) -> StoredRecord | str:
    """Return the record at `path`, or a line that says why it cannot be replayed."""
    try:
        return requests.read_record(path) or f"{path} no longer exists"
    except MessageUnreadable as error:
        return str(error)


def _select(
    records: Iterable[StoredRecord | str], options: ReplayOptions, result: ReplayResult
) -> Iterator[StoredRecord]:
    """Yield the records to replay: unresolved ones, and resolved ones whose full path the options name."""
    for record in records:
        if isinstance(record, str):
            result.failures.append(record)
        elif record.is_unresolved or record.path in options.records:
            yield record
        else:
            result.resolved += 1


def _preview(app: App, record: StoredRecord, options: ReplayOptions) -> str:
    receipt = app.storage.records.get(StorageTable.RECEIPTS, record.arrival)
    if receipt is None:
        return "bytes missing"
    return preview_replay(app.router, receipt, reissue=record.path if options.reissue else "")
