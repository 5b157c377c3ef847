"""Opens a mailbox session for any protocol."""

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


def open_mailbox(settings: MailboxSettings, tokens: TokenCache, graph_endpoint: GraphEndpoint | None = None) -> Mailbox:
    """Connect and sign in.

    If the server refuses a cached token, the token is dropped and a new one is tried, once.

    Args:
        settings: the mailbox's settings.
        tokens: the source of access tokens.
        graph_endpoint: Microsoft Graph; None: the global service.

    Raises:
        MailboxError, ConfigurationError: or a subclass.
        MailboxBusy: the mailbox or its token service asks to retry later. An unavailable token service counts as a
            busy mailbox, so that a mailbox without a sign-in for an hour raises an alert.
    """
    try:
        return _sign_in(settings, tokens, graph_endpoint)
    except ServiceUnavailable as error:
        raise MailboxBusy(str(error), retry_after=error.retry_after) from error


def open_subscriptions(
    settings: MailboxSettings, tokens: TokenCache, graph_endpoint: GraphEndpoint, now: Now
) -> GraphSubscriptions:
    """Open a session that manages the Graph subscriptions of a mailbox's sign-in.

    Raises:
        MailboxError, MailboxBusy, ConfigurationError, ServiceUnavailable: see `shared.errors`.
    """
    from shared.mailboxes.graph.subscriptions import GraphSubscriptions  # noqa: PLC0415  the SDK is slow to load

    return GraphSubscriptions(settings, tokens, graph_endpoint, now)


def _sign_in(settings: MailboxSettings, tokens: TokenCache, graph_endpoint: GraphEndpoint | None) -> Mailbox:
    if settings.protocol is MailProtocol.GRAPH:
        from shared.mailboxes.graph.mailbox import GraphMailbox  # noqa: PLC0415  the SDK takes half a second to load

        return GraphMailbox(settings, tokens, graph_endpoint or GraphEndpoint())
    token = partial(tokens.token, settings)
    try:
        return _open(settings, token)
    except AuthenticationError:
        if settings.sign_in is SignIn.PASSWORD or not tokens.forget(settings):
            raise
    return _open(settings, token)


def _open(settings: MailboxSettings, token: Callable[[], str]) -> Mailbox:
    # Imported here: a process that drains by one protocol only does not load the other.
    if settings.protocol is MailProtocol.POP3:
        from shared.mailboxes.pop3.mailbox import Pop3Mailbox  # noqa: PLC0415

        return Pop3Mailbox(settings, token)
    from shared.mailboxes.imap.mailbox import ImapMailbox  # noqa: PLC0415

    return ImapMailbox(settings, token)
