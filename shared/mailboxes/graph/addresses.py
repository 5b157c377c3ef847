"""A mailbox's addresses, read from the directory (Graph: user resource type, `proxyAddresses`)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from shared.addresses import normalise
from shared.config import MailboxSettings
from shared.errors import AccessRefused, MailboxError
from shared.mailboxes.base import MailboxAddresses
from shared.mailboxes.graph.client import GraphClient
from shared.mailboxes.graph.errors import FORBIDDEN, NOT_FOUND, GraphResponseError
from shared.mailboxes.graph.requests import MailboxRequests

PERMISSION: Final = "User.Read.All"


async def mailbox_addresses(
    client: GraphClient, requests: MailboxRequests, settings: MailboxSettings
) -> MailboxAddresses:
    """Return a mailbox's addresses.

    Raises:
        AccessRefused: the app lacks the permission, or the response has no proxyAddresses.
        MailboxError: the directory does not know the mailbox by its address.
        GraphResponseError, MailboxBusy, httpx.HTTPError: as `GraphClient.json`.
    """
    context = f"mailbox {settings.name}: the proxyAddresses of {settings.mailbox_address} cannot be read"
    try:
        user = await client.json(requests.addresses())
    except GraphResponseError as error:
        if error.status == FORBIDDEN:
            raise AccessRefused(
                f"{context}: the application permission {PERMISSION} is missing ({error.code})"
            ) from error
        if error.status == NOT_FOUND:
            raise MailboxError(
                f"{context}: no user has this address as its userPrincipalName ({error.code})"
            ) from error
        raise
    proxies = user.get("proxyAddresses")
    if not isinstance(proxies, list):
        raise AccessRefused(f"{context}: the response does not contain them; {PERMISSION} may be missing")
    return _parse_proxies(map(str, proxies), user, settings)


def _parse_proxies(proxies: Iterable[str], user: dict[str, Any], settings: MailboxSettings) -> MailboxAddresses:
    """Parse proxy addresses: `SMTP:` marks the primary address, `smtp:` an alias; other types are not e-mail."""
    primary = ""
    addresses: dict[str, None] = {}
    for proxy in proxies:
        kind, _, text = proxy.partition(":")
        address = normalise(text)
        if kind.lower() != "smtp" or address is None:
            continue
        addresses[address] = None
        if kind == "SMTP":
            primary = address
    primary = primary or normalise(str(user.get("mail") or "")) or settings.mailbox_address
    return MailboxAddresses(primary, tuple(address for address in addresses if address != primary))
