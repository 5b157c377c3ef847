"""`mailroom replay`: route stored messages again, selected by their records."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import date
from itertools import repeat
from uuid import uuid4

from rich.console import Console

from mailroom_cli.commands.find import sender_text
from mailroom_cli.ids import ShortIds, path_in_store
from mailroom_cli.tables import Column, print_table
from mailroom_cli.terminal import escape_json_line, quantity
from shared.bootstrap import App
from shared.clock import utc_now
from shared.errors import ConfigurationError, MessageUnreadable
from shared.operations.replay import ReplayRequests, StoredRecord, day_of_record, parse_kind
from shared.operations.replay_preview import PreviewedOutcome, ReplayPreview, preview_replay
from shared.operations.search import display_id, is_id, outcome_of, parse_id
from shared.receipts import Receipt
from shared.storage.base import Records

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
        records: ids of messages, paths of records, or the beginning of their paths; empty if a range is replayed.
        since: first day of the range, UTC.
        until: last day of the range, UTC.
        kind: only records of this kind in the range.
        mailbox: only records of this mailbox in the range.
        dry_run: preview the outcomes and change nothing.
        limit: number of messages to preview at most, of the newest days.
        reissue: write new results that replace the named results.
        as_json: list the messages as JSON.
    """

    records: Sequence[str] = ()
    since: date | None = None
    until: date | None = None
    kind: str | None = None
    mailbox: str | None = None
    dry_run: bool = False
    limit: int = 500
    reissue: bool = False
    as_json: bool = False

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


@dataclass(frozen=True, slots=True)
class ReplayedMessage:
    """A message that is replayed, or would be.

    Attributes:
        record: the record that selected it.
        receipt: the receipt of its arrival, as it is now.
        preview: the outcome that the replay would have; None if it is requested.
    """

    record: StoredRecord
    receipt: Receipt
    preview: ReplayPreview | None

    def to_json_line(self) -> str:
        """Return the message as a line of JSON."""
        fields = {
            "message": self.receipt.message,
            "arrival": self.receipt.arrival,
            "record": self.record.path,
            "kind": self.record.kind,
            "mailbox": self.record.mailbox,
            "from": self.receipt.senders,
            "subject": self.receipt.subject or None,
            "outcome": outcome_of(self.receipt),
            "new_outcome": None if self.preview is None else self.preview.outcome,
            "routes": None if self.preview is None else self.preview.routes,
            "requested": self.preview is None,
        }
        return escape_json_line(json.dumps(fields, ensure_ascii=False))


@dataclass(slots=True)
class ReplayResult:
    """The result of a replay or a dry run.

    Attributes:
        counts: number of messages by kind, mailbox and, in a dry run, outcome.
        messages: the messages, in a dry run or for JSON; otherwise empty, since there may be millions.
        resolved: number of records that were not replayed, since they are already resolved.
        unread: number of records beyond the limit of a dry run, which were not read.
        failures: a line for each record that could not be replayed.
    """

    counts: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    messages: list[ReplayedMessage] = field(default_factory=list)
    resolved: int = 0
    unread: int = 0
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
        options = replace(options, records=[path_in_store(app, record) for record in options.records])
        paths = [path for record in options.records for path in _resolve(requests, record, options)]
    else:
        paths = list(requests.list_records(parse_kind(options.kind), options.mailbox, options.since, options.until))
    paths = list(dict.fromkeys(paths))
    reissue = uuid4().hex if options.reissue else ""
    result = ReplayResult()
    seen: set[str] = set()
    if options.dry_run:
        paths.sort(key=day_of_record, reverse=True)
    done = 0
    with ThreadPoolExecutor(THREADS, thread_name_prefix="replay") as pool:
        while done < len(paths):
            size = min(BATCH, options.limit - len(result.messages)) if options.dry_run else BATCH
            if not size:
                result.unread = len(paths) - done
                break
            batch = paths[done : done + size]
            records = _select(pool.map(lambda path: _read(requests, path), batch), options, result)
            # Two records of an arrival are one replay; two results of an arrival are two reissues.
            by_key = {record.path if reissue else record.arrival: record for record in records}
            selected = [record for key, record in by_key.items() if key not in seen]
            seen.update(by_key)
            receipts = requests.routable_receipts(selected)
            lost = [record.path for record in selected if record.arrival not in receipts]
            result.failures += [f"{path}: its arrival has no receipt, or was erased" for path in sorted(lost)]
            selected = [record for record in selected if record.arrival in receipts]
            previews: Iterable[ReplayPreview | None] = repeat(None)
            if options.dry_run:
                previews = pool.map(lambda record: _preview(app, record, receipts[record.arrival], options), selected)  # noqa: B023
            else:
                requests.request(selected, reissue=reissue)
            for record, preview in zip(selected, previews, strict=False):
                result.counts[record.kind, record.mailbox, "" if preview is None else preview.outcome] += 1
                if options.dry_run or options.as_json:
                    result.messages.append(ReplayedMessage(record, receipts[record.arrival], preview))
            done += len(batch)
            progress(done, len(paths))
    return result


def show(records: Records, result: ReplayResult, options: ReplayOptions, console: Console) -> None:
    """Print the number of messages that are replayed, or a line for each message of a dry run."""
    if options.dry_run and result.messages:
        _show_messages(records, result.messages, console)
    elif result.counts:
        columns = (Column("kind"), Column("mailbox"), Column("messages", is_number=True))
        rows = [(kind, mailbox, str(count)) for (kind, mailbox, _), count in sorted(result.counts.items())]
        print_table(console, columns, rows)
    if result.counts:
        console.print()
    for mailbox in sorted({mailbox for _, mailbox, outcome in result.counts if outcome == UNKNOWN_OUTCOME}):
        console.print(
            f"mailbox {mailbox}: its new outcomes are unknown, since its settings or routes are invalid: run "
            f"`mailroom check {mailbox}`; replay does not use PASSWORD, so that any value will do"
        )
    if result.unread:
        console.print(f"not previewed: {quantity(result.unread, 'older record')}; --limit sets how many messages are")
    if result.resolved:
        console.print(f"not replayed: {quantity(result.resolved, 'record')} that a replay resolved before")
    _show_total(result, options, console)
    if options.reissue and result.counts:
        console.print(
            "each message that a current route takes gets a new result: consumers see it as a new event and may "
            "process the message a second time"
        )


def _show_total(result: ReplayResult, options: ReplayOptions, console: Console) -> None:
    """Print what was requested, or what a dry run found."""
    count = result.counts.total()
    if not count:
        console.print("nothing to replay")
    elif options.dry_run:
        outcomes: Counter[str] = Counter()
        for (_, _, outcome), messages in result.counts.items():
            outcomes[outcome] += messages
        console.print("new outcomes: " + ", ".join(f"{outcomes[outcome]} {outcome}" for outcome in sorted(outcomes)))
        others = f", and those of {quantity(result.unread, 'older record')}," if result.unread else ""
        console.print(
            f"nothing was changed; without --dry-run, {quantity(count, 'message')}{others} would be routed again"
        )
    else:
        console.print(
            f"the replay of {quantity(count, 'message')} is requested: the app or the next `mailroom run-once` runs it"
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


def _resolve(requests: ReplayRequests, record: str, options: ReplayOptions) -> list[str]:
    """Return the paths that an argument names: a message's records by its id, or paths."""
    if is_id(record):
        return requests.paths_by_id(parse_id(record), reissue=options.reissue)
    return requests.resolve_paths(record, reissue=options.reissue)


def _preview(app: App, record: StoredRecord, receipt: Receipt, options: ReplayOptions) -> ReplayPreview:
    return preview_replay(app.router, receipt, reissue=record.path if options.reissue else "")


def _show_messages(records: Records, messages: Sequence[ReplayedMessage], console: Console) -> None:
    ids = ShortIds.of_receipts(records, (message.receipt for message in messages))
    columns = (
        Column("id"),
        Column("from", can_shrink=True),
        Column("subject", can_shrink=True),
        Column("outcome now"),
        Column("then"),
        Column("route", can_shrink=True),
    )
    rows = [
        (
            ids.short(display_id(message.receipt)),
            sender_text(message.receipt),
            message.receipt.subject,
            outcome_of(message.receipt),
            message.preview.outcome if message.preview else "",
            ", ".join(message.preview.routes) if message.preview else "",
        )
        for message in messages
    ]
    print_table(console, columns, rows)
