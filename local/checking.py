"""`mailroom check`: connect, sign in, count, look at rights; change nothing (rule 1.11)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from shared.errors import MailroomError
from shared.mailboxes.protocol import Mailbox
from shared.settings import After, MailboxSettings
from shared.wiring import App


def check(app: App, only: str | None = None) -> Iterator[tuple[bool, str]]:
    """Look at every mailbox, or one.

    Yields:
        Whether it is well, and a line that says what was found.
    """
    for fault in app.settings.warnings:
        yield True, f"note: {fault}"
    for name, faults in app.settings.faulty.items():
        if only in (None, name):
            yield from ((False, f"mailbox {name}: {fault}") for fault in faults)
    for settings in app.settings.mailboxes.values():
        if only in (None, settings.name):
            try:
                yield from _look(settings, app.poller.connect)
            except MailroomError as error:
                yield False, str(error) if settings.name in str(error) else f"mailbox {settings.name}: {error}"


def _look(settings: MailboxSettings, connect: Callable[[MailboxSettings], Mailbox]) -> Iterator[tuple[bool, str]]:
    with connect(settings) as mailbox:
        for folder in mailbox.folders:
            rights = mailbox.rights(folder)
            since = f" Only what was received since {settings.since} is taken." if settings.since else ""
            found = f"signed in to {settings.host}; {rights.messages} messages; {_fate(settings)}.{since}"
            yield not rights.problems, f"mailbox {settings.name}, {folder}: {found}"
            for problem in rights.problems:
                yield False, problem if settings.name in problem else f"mailbox {settings.name}, {folder}: {problem}"


def _fate(settings: MailboxSettings) -> str:
    if settings.after is After.KEEP:
        return "what is stored stays in the mailbox"
    if settings.after is After.MOVE:
        return f"what is stored is moved to {settings.move_to}"
    return "what is stored is deleted from the mailbox"
