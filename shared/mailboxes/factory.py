"""Opens a mailbox, whatever its protocol."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from shared.clock import Now
from shared.config import MailboxSettings, MailProtocol, SignIn
from shared.errors import AuthenticationError, MailboxBusy, ServiceUnavailable
from shared.mailboxes.base import Mailbox
from shared.mailboxes.graph.endpoint import GraphEndpoint
from shared.mailboxes.oauth.token_cache import TokenCache

if TYPE_CHECKING:
    from shared.mailboxes.graph.subscriptions import GraphSubscriptions


def open_mailbox(settings: MailboxSettings, tokens: TokenCache, way: GraphEndpoint | None = None) -> Mailbox:
    """Connect and sign in.

    A token out of memory that the server refuses is dropped, and a fresh one tried, once.

    Args:
        settings: which mailbox, and how.
        tokens: where access tokens come from.
        way: to Microsoft Graph; None: the one there is.

    Raises:
        MailboxError, ConfigurationError: and what derives from them.
        MailboxBusy: the mailbox asks to come back later, or its token service does: a mailbox that cannot be signed in
            to for an hour must be noticed, whoever is to blame.
    """
    try:
        return _signed_in(settings, tokens, way)
    except ServiceUnavailable as error:
        raise MailboxBusy(str(error), retry_after=error.retry_after) from error


def _signed_in(settings: MailboxSettings, tokens: TokenCache, way: GraphEndpoint | None) -> Mailbox:
    if settings.protocol is MailProtocol.GRAPH:
        from shared.mailboxes.graph.mailbox import GraphMailbox  # noqa: PLC0415  the SDK takes half a second to load

        return GraphMailbox(settings, tokens, way or GraphEndpoint())
    token = partial(tokens.token, settings)
    try:
        return _open(settings, token)
    except AuthenticationError:
        if settings.sign_in is SignIn.PASSWORD or not tokens.forget(settings):
            raise
    return _open(settings, token)


def open_subscriptions(
    settings: MailboxSettings, tokens: TokenCache, way: GraphEndpoint, now: Now
) -> GraphSubscriptions:
    """A session about the subscriptions of a mailbox's sign-in.

    Raises:
        MailboxError, MailboxBusy, ConfigurationError, ServiceUnavailable: as they say.
    """
    from shared.mailboxes.graph.subscriptions import GraphSubscriptions  # noqa: PLC0415  as above

    return GraphSubscriptions(settings, tokens, way, now)


def _open(settings: MailboxSettings, token: Callable[[], str]) -> Mailbox:
    # Imported here: a process that drains by one protocol only does not load the other.
    if settings.protocol is MailProtocol.POP3:
        from shared.mailboxes.pop3.mailbox import Pop3Mailbox  # noqa: PLC0415

        return Pop3Mailbox(settings, token)
    from shared.mailboxes.imap.mailbox import ImapMailbox  # noqa: PLC0415

    return ImapMailbox(settings, token)
