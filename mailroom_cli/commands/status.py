"""`mailroom status`: whether all is well, and the state of mailboxes, storage, routes, subscriptions and queues."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from rich.console import Console
from rich.text import Text

from mailroom_cli.app_context import storage_lines
from mailroom_cli.commands.check import check_routes
from mailroom_cli.render import format_time, name_mailbox
from mailroom_cli.tables import Column, print_table
from shared.bootstrap import App
from shared.clock import Now, utc_now
from shared.config import MailboxSettings, MailProtocol
from shared.mailbox_health import MailboxHealth
from shared.operations.ledger import OUTCOMES, Counts, Ledger, read_ledger
from shared.storage.base import QueueName, Table

UNHEALTHY: Final = ("failing", "disabled", "invalid settings")
"""The states in which a mailbox is unhealthy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MailboxStatus:
    """The state of a mailbox.

    Attributes:
        name: its name in the settings.
        state: one to three words.
        last_success: when a poll last succeeded; None: never.
        next_try: when it is polled next; None: not before someone acts.
        failures: failures in a row.
        since: since when it fails; None: it does not.
        problems: why it is unhealthy, or what to know about it.
        drained: of a drain that is under way, the messages of the folder that are processed, and all of them.
        skipped: messages that the last poll skipped.
    """

    name: str
    state: str
    last_success: datetime | None = None
    next_try: datetime | None = None
    failures: int = 0
    since: datetime | None = None
    problems: tuple[str, ...] = ()
    drained: tuple[int, int] | None = None
    skipped: int = 0

    @property
    def is_healthy(self) -> bool:
        """Whether it is polled as configured. A mailbox that is switched off is healthy."""
        return self.state not in UNHEALTHY

    def to_json(self, ledger: Ledger) -> dict[str, object]:
        """Return the state and the counts as a JSON object."""
        return {
            "name": self.name,
            "state": self.state,
            "healthy": self.is_healthy,
            "last_success": _json_time(self.last_success),
            "next_try": _json_time(self.next_try),
            "failures": self.failures,
            "failing_since": _json_time(self.since),
            "draining": None if self.drained is None else {"drained": self.drained[0], "listed": self.drained[1]},
            "problems": list(self.problems),
            "today": ledger.today.get(self.name, Counts()).to_json(),
            "in_all": ledger.in_all.get(self.name, Counts()).to_json(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """The state of a folder's Graph subscription.

    Attributes:
        mailbox: the mailbox's name.
        folder: the folder.
        until: when it expires; None: it has expired, or does not exist.
        last_notified: when the last poll that a notification triggered began.
        error: why the subscription could not be renewed; empty if it was.
    """

    mailbox: str
    folder: str
    until: datetime | None
    last_notified: datetime | None
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """The state of an installation.

    Attributes:
        mailboxes: the mailboxes of the settings.
        ledger: the arrivals, counted.
        storage: a line for each storage.
        routes: a line that describes the routes, or a line for each error.
        routes_are_valid: whether all routes are.
        unnotified: Graph mailboxes that only the timer polls, since GRAPH_WEBHOOK_URL is not set.
        subscriptions: the Graph subscriptions.
        queues: messages in each queue.
        outbox: messages and replays that are not routed yet.
        oldest: when the oldest of them was stored.
    """

    mailboxes: Sequence[MailboxStatus]
    ledger: Ledger
    storage: Sequence[str]
    routes: Sequence[str]
    routes_are_valid: bool
    unnotified: Sequence[str] = ()
    subscriptions: Sequence[Subscription] = ()
    queues: Mapping[QueueName, int] = field(default_factory=dict)
    outbox: int = 0
    oldest: datetime | None = None

    @property
    def is_healthy(self) -> bool:
        """Whether every mailbox is healthy."""
        return all(mailbox.is_healthy for mailbox in self.mailboxes)

    @property
    def sentence(self) -> str:
        """The answer to "is it all right?"."""
        waiting = f"{_amount(self.outbox, 'message')} {'waits' if self.outbox == 1 else 'wait'} to be routed"
        rest = [waiting if self.outbox else "nothing is waiting"]
        if not self.routes_are_valid:
            rest.insert(0, "the routes have errors")
        failed = sum(length for name, length in self.queues.items() if name.value.endswith("-poison"))
        if failed:
            rest.append(f"{_amount(failed, 'message')} on a poison queue")
        return f"{self._mailboxes_sentence()}; {'; '.join(rest)}."

    def _mailboxes_sentence(self) -> str:
        total = len(self.mailboxes)
        unhealthy = [mailbox for mailbox in self.mailboxes if not mailbox.is_healthy]
        if not total:
            return "No mailbox is configured"
        if not unhealthy:
            healthy = f"All {total} mailboxes are healthy" if total > 1 else "The mailbox is healthy"
            unpolled = [mailbox.name for mailbox in self.mailboxes if mailbox.state == "never polled"]
            return f"{healthy}, not yet polled: {', '.join(unpolled)}" if unpolled else healthy
        reasons = ", ".join(
            f"{mailbox.name} ({mailbox.state}{f' since {mailbox.since:%Y-%m-%d %H:%M} UTC' if mailbox.since else ''})"
            for mailbox in unhealthy
        )
        verb = "is" if len(unhealthy) == 1 else "are"
        return f"{len(unhealthy)} of {_amount(total, 'mailbox', 'mailboxes')} {verb} unhealthy: {reasons}"

    def to_json(self) -> dict[str, object]:
        """Return the state as a JSON object."""
        known = {mailbox.name for mailbox in self.mailboxes}
        return {
            "healthy": self.is_healthy,
            "summary": self.sentence,
            "day": self.ledger.day.isoformat(),
            "mailboxes": [mailbox.to_json(self.ledger) for mailbox in self.mailboxes],
            "other_mailboxes": [
                {
                    "name": name,
                    "today": self.ledger.today.get(name, Counts()).to_json(),
                    "in_all": counts.to_json(),
                }
                for name, counts in sorted(self.ledger.in_all.items())
                if name not in known
            ],
            "storage": list(self.storage),
            "routes": {"valid": self.routes_are_valid, "lines": list(self.routes)},
            "subscriptions": [
                {
                    "mailbox": subscription.mailbox,
                    "folder": subscription.folder,
                    "until": _json_time(subscription.until),
                    "last_notified": _json_time(subscription.last_notified),
                    "error": subscription.error,
                }
                for subscription in self.subscriptions
            ],
            "outbox": {"messages": self.outbox, "oldest": _json_time(self.oldest)},
            "queues": {name.value: length for name, length in self.queues.items()},
        }


def read_status(app: App, now: Now = utc_now) -> Status:
    """Read the state of an installation. Nothing is changed, and no mail server is contacted.

    Raises:
        TransientError: storage is unavailable.
    """
    at = now()
    names = [*app.settings.mailboxes, *app.settings.mailbox_errors]
    routes = [finding for finding in check_routes(app) if not finding.is_note]
    graph = [settings for settings in app.settings.mailboxes.values() if settings.protocol is MailProtocol.GRAPH]
    is_notified = app.settings.graph_webhook_url is not None
    outbox = list(app.storage.records.scan(Table.OUTBOX))
    stored_at = [record.values.get("stored_at") for record in outbox]
    return Status(
        mailboxes=[_mailbox_status(app, name, at) for name in names],
        ledger=read_ledger(app.storage.records, at, outbox),
        storage=list(storage_lines(app.settings)),
        routes=[finding.text for finding in routes],
        routes_are_valid=all(finding.passed for finding in routes),
        unnotified=[] if is_notified else [settings.name for settings in graph],
        subscriptions=[subscription for settings in graph for subscription in _subscriptions(app, settings, at)]
        if is_notified
        else [],
        queues={name: app.storage.queues[name].length() for name in QueueName},
        outbox=len(stored_at),
        oldest=min((time for time in stored_at if isinstance(time, datetime)), default=None),
    )


def show(status: Status, console: Console) -> None:
    """Print the state: the answer first, then the mailboxes, their counts, and everything else."""
    _print(console, status.sentence, style="" if status.is_healthy and status.routes_are_valid else "bold red")
    if status.mailboxes:
        console.print()
        _show_mailboxes(status, console)
        console.print()
        _show_counts(status, console)
    console.print()
    for line in status.storage:
        _print(console, line)
    for line in status.routes:
        _print(console, line, style="" if status.routes_are_valid else "bold red")
    if status.unnotified:
        _print(
            console, f"Graph: GRAPH_WEBHOOK_URL is not set, so that only the timer polls {', '.join(status.unnotified)}"
        )
    for subscription in status.subscriptions:
        _print(console, _describe_subscription(subscription), style="bold red" if subscription.error else "")
    queues = ", ".join(f"{name} {length}" for name, length in status.queues.items() if length)
    _print(console, f"queues: {queues or 'empty'}")
    oldest = f", the oldest stored at {format_time(status.oldest)} UTC" if status.oldest is not None else ""
    _print(console, f"outbox: {f'{status.outbox} to be routed{oldest}' if status.outbox else 'empty'}")


def _show_mailboxes(status: Status, console: Console) -> None:
    columns = [
        Column("mailbox", can_shrink=True),
        Column("state", can_shrink=True),
        Column("last success (UTC)"),
        Column("next try (UTC)"),
    ]
    rows = [
        (
            mailbox.name,
            "draining {} of {}".format(*mailbox.drained) if mailbox.drained is not None else mailbox.state,
            format_time(mailbox.last_success) or "never",
            format_time(mailbox.next_try),
        )
        for mailbox in status.mailboxes
    ]
    print_table(console, columns, rows)
    for mailbox in status.mailboxes:
        for problem in mailbox.problems:
            _print(console, problem, style="" if mailbox.is_healthy else "red")
    skipping = [mailbox for mailbox in status.mailboxes if mailbox.skipped]
    if skipping:
        numbers = ", ".join(f"{mailbox.skipped} of {mailbox.name}" for mailbox in skipping)
        _print(console, f"skipped, see oversized/ and unreadable/: {numbers}")


def _show_counts(status: Status, console: Console) -> None:
    """Print the counts of every mailbox: those of today, then those in all. A column without any number is omitted."""
    ledger = status.ledger
    names = [mailbox.name for mailbox in status.mailboxes]
    names += sorted(name for name in ledger.in_all if name not in names)
    rows = [(name, period, counts) for name in names for period, counts in _periods(ledger, name)]
    if len(names) > 1:
        for period, by_mailbox in (("today", ledger.today), ("in all", ledger.in_all)):
            counts = sum(by_mailbox.values(), Counts())
            if counts.collected + counts.skipped or period == "in all":
                rows.append(("total", period, counts))
    shown = [
        name
        for name in (*OUTCOMES, "skipped")
        if name == "routed" or not console.is_terminal or any(getattr(counts, name) for _, _, counts in rows)
    ]
    width = max(len("mailbox"), *(len(name) for name, _, _ in rows))
    available = console.width - width - len("in all") - 4
    groups = _fitting(["collected", *shown], rows, available) if console.is_terminal else [["collected", *shown]]
    for columns in groups:
        print_table(
            console,
            [Column("mailbox", can_shrink=True), Column("period"), *(Column(name, is_number=True) for name in columns)],
            [(name, period, *(str(getattr(counts, column)) for column in columns)) for name, period, counts in rows],
        )


def _periods(ledger: Ledger, name: str) -> Iterator[tuple[str, Counts]]:
    if name in ledger.today:
        yield "today", ledger.today[name]
    yield "in all", ledger.in_all.get(name, Counts())


def _fitting(columns: Sequence[str], rows: Sequence[tuple[str, str, Counts]], width: int) -> Iterator[list[str]]:
    """Yield the columns in groups, each as wide as fits beside the first two columns of the table."""
    group: list[str] = []
    used = 0
    for column in columns:
        cells = max(len(column), *(len(str(getattr(counts, column))) for _, _, counts in rows)) + 2
        if group and used + cells > width:
            yield group
            group, used = [], 0
        group.append(column)
        used += cells
    yield group


def _mailbox_status(app: App, name: str, now: datetime) -> MailboxStatus:
    health = app.health.get(name)
    errors = app.settings.mailbox_errors.get(name, ())
    if errors:
        return MailboxStatus(
            name=name, state="invalid settings", last_success=health.last_success, problems=tuple(errors)
        )
    settings = app.settings.mailboxes[name]
    state = _state(settings, health, now)
    failing = state in ("failing", "disabled")
    return MailboxStatus(
        name=name,
        state=state,
        last_success=health.last_success,
        next_try=None if state in ("disabled", "switched off") else _next_try(app, settings, health, now),
        failures=health.failures,
        since=(health.failing_since or health.last_failure or health.busy_since) if failing else None,
        problems=tuple(_problems(settings, health)),
        drained=(health.drained, health.listed) if health.is_draining(now) else None,
        skipped=health.left,
    )


def _state(settings: MailboxSettings, health: MailboxHealth, now: datetime) -> str:
    """Return a mailbox's state in one to three words."""
    if not settings.enabled:
        return "switched off"
    if health.disabled:
        return "disabled"
    if health.is_failing(now):
        return "failing"
    if health.busy_since is not None:
        return "busy"
    if health.last_success is None:
        return "never polled" if health.last_poll is None else "no poll finished"
    return "ok"


def _next_try(app: App, settings: MailboxSettings, health: MailboxHealth, now: datetime) -> datetime | None:
    """Return when the timer polls a mailbox next at the earliest; now if it is due."""
    subscribed = not health.failures and app.subscriptions.is_active(settings)
    interval = timedelta(seconds=settings.poll_every_subscribed if subscribed else settings.poll_every)
    due = None if health.last_poll is None else health.last_poll + interval
    return max(time for time in (due, health.next_try, now) if time is not None)


def _problems(settings: MailboxSettings, health: MailboxHealth) -> Iterator[str]:
    """Yield why a mailbox is not polled now, or a note about a healthy mailbox."""
    name = settings.name
    problem = health.busy_reason or health.last_error
    if problem:
        fix = f" (`mailroom enable {name}` {'enables it' if health.disabled else 'ends the backoff'})"
        yield name_mailbox(name, problem) + (fix if health.disabled or health.next_try is not None else "")
    elif health.disabled:
        yield f"mailbox {name}: disabled; `mailroom enable {name}` enables it"
    if health.busy_since is not None:
        yield f"mailbox {name}: no poll has finished since {format_time(health.busy_since)} UTC"
    if health.warning:
        yield name_mailbox(name, health.warning)


def _subscriptions(app: App, settings: MailboxSettings, now: datetime) -> Iterator[Subscription]:
    last_notified = app.health.get(settings.name).last_notified
    for folder in settings.folders:
        record = app.subscriptions.record_for(settings.name, folder)
        yield Subscription(
            mailbox=settings.name,
            folder=folder,
            until=record.until if record.until > now else None,
            last_notified=last_notified,
            error=record.error,
        )


def _describe_subscription(subscription: Subscription) -> str:
    until = (
        f"subscribed until {format_time(subscription.until)} UTC"
        if subscription.until is not None
        else "not subscribed, only the timer polls"
    )
    last = f", last notification {format_time(subscription.last_notified)} UTC" if subscription.last_notified else ""
    error = f": {subscription.error}" if subscription.error else ""
    return f"Graph: {subscription.mailbox}, {subscription.folder}: {until}{last}{error}"


def _print(console: Console, text: str, style: str = "") -> None:
    # A terminal wraps the line; a path in it stays whole.
    console.print(Text(text, style=style), soft_wrap=True)


def _amount(number: int, singular: str, plural: str = "") -> str:
    return f"{number} {singular if number == 1 else plural or singular + 's'}"


def _json_time(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat()
