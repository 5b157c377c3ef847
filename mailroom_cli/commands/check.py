"""`mailroom check`: routes; connect, sign in, count, look at rights; change nothing (rule 1.11)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from shared.bootstrap import App
from shared.config import ROUTES_PATH, After, MailboxSettings, RouteSet, load_routes
from shared.errors import AccessRefused, ConfigurationError, MailroomError
from shared.mailboxes.base import HasAddresses, Mailbox, MailboxAddresses


def check(app: App, only: str | None = None) -> Iterator[tuple[bool, str]]:
    """Look at the routes, and at every mailbox, or one.

    Yields:
        Whether it is well, and a line that says what was found.
    """
    for fault in app.settings.warnings:
        yield True, f"note: {fault}"
    for name, faults in app.settings.faulty.items():
        if only in (None, name):
            yield from ((False, f"mailbox {name}: {fault}") for fault in faults)
    yield from check_routes(app, only)
    for settings in app.settings.mailboxes.values():
        if only in (None, settings.name):
            try:
                yield from _look(settings, app)
            except MailroomError as error:
                yield False, str(error) if settings.name in str(error) else f"mailbox {settings.name}: {error}"


def check_routes(app: App, only: str | None = None) -> Iterator[tuple[bool, str]]:
    """Look at the routes of the settings and of the routes file: those of every mailbox, or of one.

    Yields:
        Whether they are well, and a line that says what was found.
    """
    try:
        yield from _told(app.route_repository.read(), app, ROUTES_PATH, only)
    except MailroomError as error:
        yield False, f"routes: {error}"


def check_routes_file(app: App, file: Path) -> Iterator[tuple[bool, str]]:
    """Check a file as if it were the routes file; it is stored nowhere.

    Yields:
        Whether it is well, and a line that says what was found.

    Raises:
        ConfigurationError: it cannot be read.
    """
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be read: {error.strerror}") from None
    yield from _told(load_routes(app.settings, data, str(file)), app, str(file), None)


def _told(routes: RouteSet, app: App, called: str, only: str | None) -> Iterator[tuple[bool, str]]:
    yield from ((True, f"note: {warning}") for warning in routes.warnings)
    own = f"{len(app.settings.routes)} in the settings"
    faults = routes.all_faults if only is None else routes.keeps(only)
    if not faults:
        theirs = f"no {called}" if routes.from_file is None else f"{routes.from_file} in {called}"
        yield True, f"routes: {own}, {theirs}"
    for fault in routes.faults:
        yield False, f"routes: {fault}; until then no mail is routed"
    for name, of_one in routes.faulty.items():
        if only in (None, name):
            yield from ((False, f"routes: {fault}; until then no mail of mailbox {name} is routed") for fault in of_one)


def alias_notes(
    settings: MailboxSettings,
    addresses: MailboxAddresses,
    route_of: Callable[[str], str | None],
    configured: Collection[str] = (),
) -> Iterator[str]:
    """Say which addresses a mailbox has, which of them belong into ALIASES, and whether mail for them may be misrouted.

    Args:
        settings: the mailbox's.
        addresses: what its server says.
        route_of: the name of the first plain route that takes an address; None: no route does.
        configured: what ALIASES names.
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
    own = route_of(addresses.primary)
    misrouted = [alias for alias in new if routed[alias] != own]
    if own is not None and misrouted:
        yield (
            f"{addresses.primary} has the route {own} beside the routes of {', '.join(misrouted)}: Exchange may write "
            f"{addresses.primary} into To for mail that was sent to an alias, and route {own} takes it then; see "
            "docs/aliases.md"
        )


def _look(settings: MailboxSettings, app: App) -> Iterator[tuple[bool, str]]:
    with app.poller.connect(settings) as mailbox:
        for folder in mailbox.folders:
            rights = mailbox.check_folder(folder)
            since = f" Only what was received since {settings.since} is taken." if settings.since else ""
            found = f"signed in to {settings.host}; {rights.messages} messages; {_fate(settings)}.{since}"
            yield not rights.problems, f"mailbox {settings.name}, {folder}: {found}"
            for note in rights.notes:
                yield True, f"note: mailbox {settings.name}, {folder}: {note}"
            for problem in rights.problems:
                yield False, problem if settings.name in problem else f"mailbox {settings.name}, {folder}: {problem}"
        for note in _address_notes(settings, mailbox, app):
            yield True, f"note: {note}" if note.startswith("mailbox ") else f"note: mailbox {settings.name}: {note}"


def _address_notes(settings: MailboxSettings, mailbox: Mailbox, app: App) -> Iterator[str]:
    """Say what the server knows of the mailbox's addresses. Nothing here keeps mail from being collected."""
    if not isinstance(mailbox, HasAddresses):
        return
    try:
        addresses = mailbox.addresses()
        table = app.tables.for_mailbox(settings.name)
    except AccessRefused as error:
        yield f"{error}. It is optional, and lets check propose ALIASES (docs/permissions.md)"
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


def _fate(settings: MailboxSettings) -> str:
    if settings.after is After.KEEP:
        return "what is stored stays in the mailbox"
    if settings.after is After.MOVE:
        return f"what is stored is moved to {settings.move_to}"
    if settings.after is After.TRASH:
        return "what is stored is moved to the deleted items"
    return "what is stored is deleted from the mailbox"
