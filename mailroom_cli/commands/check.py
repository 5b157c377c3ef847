"""`mailroom check`: check routes and mailboxes; change nothing (rule 1.11)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from mailroom_cli.render import name_mailbox
from shared.bootstrap import App
from shared.config import ROUTES_PATH, After, MailboxSettings, RouteSet, load_routes
from shared.errors import AccessRefused, ConfigurationError, FolderMissing, MailroomError, without_mailbox
from shared.mailboxes.base import HasAddresses, Mailbox, MailboxAddresses
from shared.queue_messages import PollReason


@dataclass(frozen=True, slots=True)
class Finding:
    """A result of a check.

    Attributes:
        passed: whether it passed.
        text: a line that describes it.
        mailbox: the mailbox that it is about; empty: none.
        is_note: whether it is a fact to know, and not a check.
    """

    passed: bool
    text: str
    mailbox: str = ""
    is_note: bool = False

    @property
    def result(self) -> str:
        """`ok`, `note` or `wrong`."""
        if not self.passed:
            return "wrong"
        return "note" if self.is_note else "ok"

    def to_json(self) -> dict[str, object]:
        """Return the finding as a JSON object."""
        return {"result": self.result, "mailbox": self.mailbox or None, "text": self.text}

    @classmethod
    def note(cls, text: str, mailbox: str = "") -> Self:
        """Return a fact to know."""
        return cls(True, text, mailbox, is_note=True)


def check(app: App, only: str | None = None) -> Iterator[Finding]:
    """Check the routes and the mailboxes.

    Args:
        app: supplies settings, routes and mailboxes.
        only: name of one mailbox; None means every mailbox.

    Yields:
        The findings, in order.
    """
    for warning in app.settings.warnings:
        yield Finding.note(warning)
    for name, errors in app.settings.mailbox_errors.items():
        if only in (None, name):
            yield from (Finding(False, name_mailbox(name, error), name) for error in errors)
    yield from check_routes(app, only)
    for settings in app.settings.mailboxes.values():
        if only in (None, settings.name):
            try:
                yield from _check_mailbox(settings, app)
            except MailroomError as error:
                yield Finding(False, name_mailbox(settings.name, str(error)), settings.name)


def check_routes(app: App, only: str | None = None) -> Iterator[Finding]:
    """Check the routes of the settings and of the routes file, for every mailbox or for `only`.

    Yields:
        The findings, in order.
    """
    try:
        yield from _describe_routes(app.route_repository.read(), app, ROUTES_PATH, only)
    except MailroomError as error:
        yield Finding(False, f"routes: {error}")


def check_routes_file(app: App, file: Path) -> Iterator[Finding]:
    """Check a file as if it were the routes file; store nothing.

    Yields:
        The findings, in order.

    Raises:
        ConfigurationError: the file cannot be read.
    """
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be read: {error.strerror}") from None
    yield from _describe_routes(load_routes(app.settings, data, str(file)), app, str(file), None)


def _describe_routes(routes: RouteSet, app: App, file: str, only: str | None) -> Iterator[Finding]:
    yield from (Finding.note(warning) for warning in routes.warnings)
    errors = routes.all_errors if only is None else routes.errors_for(only)
    if not errors:
        from_file = f"no {file}" if routes.from_file is None else f"{routes.from_file} in {file}"
        yield Finding(True, f"routes: {len(app.settings.routes)} in the settings, {from_file}")
    for error in routes.errors:
        yield Finding(False, f"routes: {error}; until then no mail is routed")
    for name, mailbox_errors in routes.mailbox_errors.items():
        if only in (None, name):
            for error in mailbox_errors:
                yield Finding(False, f"routes: {error}; until then no mail of mailbox {name} is routed", name)


def alias_notes(
    settings: MailboxSettings,
    addresses: MailboxAddresses,
    route_of: Callable[[str], str | None],
    configured: Collection[str] = (),
) -> Iterator[str]:
    """Describe a mailbox's addresses: which belong in ALIASES, and whether mail to them may be misrouted.

    Args:
        settings: the mailbox's settings.
        addresses: the addresses that the server reports.
        route_of: returns the name of the first plain route that matches an address, or None.
        configured: the addresses in ALIASES.
    """
    setting = f"MAILBOXES__{settings.name}__ALIASES"
    aliases = ", ".join(addresses.aliases)
    yield f"its primary address is {addresses.primary}; {f'its aliases are {aliases}' if aliases else 'no aliases'}"
    if settings.mailbox_address != addresses.primary:
        yield f"{settings.mailbox_address} is not the primary address: To may name {addresses.primary} in its place"
    routed = {alias: route for alias in addresses.aliases if (route := route_of(alias)) is not None}
    proposed = [alias for alias in addresses.aliases if alias in routed or alias in configured]
    new = [alias for alias in proposed if alias not in configured]
    if not new:
        return
    yield f"aliases that have a route: set {setting}={';'.join(proposed)}"
    primary_route = route_of(addresses.primary)
    misrouted = [alias for alias in new if routed[alias] != primary_route]
    if primary_route is not None and misrouted:
        yield (
            f"{addresses.primary} has the route {primary_route}, and {', '.join(misrouted)} have other routes: "
            f"Exchange may write {addresses.primary} into To for mail to an alias, and then route {primary_route} "
            "takes it; see docs/how-to/aliases.md"
        )


def _check_mailbox(settings: MailboxSettings, app: App) -> Iterator[Finding]:
    name = settings.name
    with app.poller.connect(settings) as mailbox:
        for folder in mailbox.folders:
            try:
                result = mailbox.check_folder(folder)
            except FolderMissing as error:
                yield Finding(False, name_mailbox(name, str(error)), name)
                continue
            since = f" Only messages received since {settings.since} are drained." if settings.since else ""
            summary = f"signed in to {settings.host}; {result.messages} messages; {_after_storing(settings)}.{since}"
            yield Finding(not result.problems, f"mailbox {name}, {folder}: {summary}", name)
            for note in result.notes:
                yield Finding.note(f"mailbox {name}, {folder}: {note}", name)
            for problem in result.problems:
                yield Finding(False, f"mailbox {name}, {folder}: {without_mailbox(problem, name)}", name)
        for note in _address_notes(settings, mailbox, app):
            yield Finding.note(name_mailbox(name, note), name)
    not_polled = app.health.skip_reason(settings, PollReason.MANUAL)
    if not_polled is not None:
        yield Finding.note(not_polled, name)


def _address_notes(settings: MailboxSettings, mailbox: Mailbox, app: App) -> Iterator[str]:
    """Describe the addresses that the server reports. An error here is only a note: it does not stop draining."""
    if not isinstance(mailbox, HasAddresses):
        return
    try:
        addresses = mailbox.addresses()
        table = app.route_tables.for_mailbox(settings.name)
    except AccessRefused as error:
        yield f"{error}. This permission is optional; with it, check proposes ALIASES (docs/reference/permissions.md)"
        return
    except MailroomError as error:
        yield str(error)
        return

    def route_of(address: str) -> str | None:
        return (
            next((candidate.route.name for candidate in table.plain_routes(address)), None)
            if table is not None
            else None
        )

    yield from alias_notes(settings, addresses, route_of, settings.aliases)


def _after_storing(settings: MailboxSettings) -> str:
    if settings.after is After.KEEP:
        return "stored messages stay in the mailbox"
    if settings.after is After.MOVE:
        return f"stored messages are moved to {settings.move_to}"
    if settings.after is After.TRASH:
        return "stored messages are moved to the deleted items"
    return "stored messages are deleted from the mailbox"
