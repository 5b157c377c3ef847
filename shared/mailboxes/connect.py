"""Opens a mailbox, whatever its protocol."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from shared.errors import SignInRefused
from shared.mailboxes.protocol import Mailbox
from shared.mailboxes.sign_in import Tokens
from shared.settings import MailboxSettings, MailProtocol, SignIn


def open_mailbox(settings: MailboxSettings, tokens: Tokens) -> Mailbox:
    """Connect and sign in.

    A token out of memory that the server refuses is dropped, and a fresh one tried, once.

    Args:
        settings: which mailbox, and how.
        tokens: where access tokens come from.

    Raises:
        MailboxFailed, MailboxBusy, SettingsWrong: and what derives from them.
        ServiceUnavailable: the token service is ill.
    """
    token = partial(tokens.token, settings)
    try:
        return _open(settings, token)
    except SignInRefused:
        if settings.sign_in is SignIn.PASSWORD or not tokens.forget(settings):
            raise
    return _open(settings, token)


def _open(settings: MailboxSettings, token: Callable[[], str]) -> Mailbox:
    # Imported here: a process that drains by one protocol only does not load the other.
    if settings.protocol is MailProtocol.POP3:
        from shared.mailboxes.pop3 import Pop3Mailbox  # noqa: PLC0415

        return Pop3Mailbox(settings, token)
    from shared.mailboxes.imap import ImapMailbox  # noqa: PLC0415

    return ImapMailbox(settings, token)
