"""`mailroom check`: routes; connect, sign in, count, look at rights; change nothing (rule 1.11)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from shared.errors import MailroomError, SettingsWrong
from shared.mailboxes.protocol import Mailbox
from shared.settings import ROUTES_PATH, After, AllRoutes, MailboxSettings, all_routes
from shared.wiring import App


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
                yield from _look(settings, app.poller.connect)
            except MailroomError as error:
                yield False, str(error) if settings.name in str(error) else f"mailbox {settings.name}: {error}"


def check_routes(app: App, only: str | None = None) -> Iterator[tuple[bool, str]]:
    """Look at the routes of the settings and of the routes file: those of every mailbox, or of one.

    Yields:
        Whether they are well, and a line that says what was found.
    """
    try:
        yield from _told(app.book.read(), app, ROUTES_PATH, only)
    except MailroomError as error:
        yield False, f"routes: {error}"


def check_routes_file(app: App, file: Path) -> Iterator[tuple[bool, str]]:
    """Check a file as if it were the routes file; it is stored nowhere.

    Yields:
        Whether it is well, and a line that says what was found.

    Raises:
        SettingsWrong: it cannot be read.
    """
    try:
        data = file.read_bytes()
    except OSError as error:
        raise SettingsWrong(f"{file} cannot be read: {error.strerror}") from None
    yield from _told(all_routes(app.settings, data, str(file)), app, str(file), None)


def _told(routes: AllRoutes, app: App, called: str, only: str | None) -> Iterator[tuple[bool, str]]:
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


def _look(settings: MailboxSettings, connect: Callable[[MailboxSettings], Mailbox]) -> Iterator[tuple[bool, str]]:
    with connect(settings) as mailbox:
        for folder in mailbox.folders:
            rights = mailbox.rights(folder)
            since = f" Only what was received since {settings.since} is taken." if settings.since else ""
            found = f"signed in to {settings.host}; {rights.messages} messages; {_fate(settings)}.{since}"
            yield not rights.problems, f"mailbox {settings.name}, {folder}: {found}"
            for note in rights.notes:
                yield True, f"note: mailbox {settings.name}, {folder}: {note}"
            for problem in rights.problems:
                yield False, problem if settings.name in problem else f"mailbox {settings.name}, {folder}: {problem}"


def _fate(settings: MailboxSettings) -> str:
    if settings.after is After.KEEP:
        return "what is stored stays in the mailbox"
    if settings.after is After.MOVE:
        return f"what is stored is moved to {settings.move_to}"
    return "what is stored is deleted from the mailbox"
