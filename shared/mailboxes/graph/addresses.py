"""The addresses of a mailbox, as the directory has them (Graph: user resource type, `proxyAddresses`)."""

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
        AccessRefused: the app lacks the permission, or the answer has no proxyAddresses.
        MailboxError: the directory does not know the mailbox by its address.
        Answered, MailboxBusy, httpx.HTTPError: as `GraphClient.json`.
    """
    where = f"mailbox {settings.name}: the proxyAddresses of {settings.mailbox_address} cannot be read"
    try:
        user = await client.json(requests.addresses())
    except GraphResponseError as answer:
        if answer.status == FORBIDDEN:
            raise AccessRefused(
                f"{where}: the application permission {PERMISSION} is missing ({answer.code})"
            ) from answer
        if answer.status == NOT_FOUND:
            raise MailboxError(
                f"{where}: no user has this address as its userPrincipalName ({answer.code})"
            ) from answer
        raise
    proxies = user.get("proxyAddresses")
    if not isinstance(proxies, list):
        raise AccessRefused(f"{where}: the answer does not have them; {PERMISSION} may be missing")
    return _addresses(map(str, proxies), user, settings)


def _addresses(proxies: Iterable[str], user: dict[str, Any], settings: MailboxSettings) -> MailboxAddresses:
    """Sort proxy addresses: `SMTP:` marks the primary address, `smtp:` an alias; other types are not for mail."""
    primary = ""
    found: dict[str, None] = {}
    for proxy in proxies:
        kind, _, address = proxy.partition(":")
        normal = normalise(address)
        if kind.lower() != "smtp" or normal is None:
            continue
        found[normal] = None
        if kind == "SMTP":
            primary = normal
    primary = primary or normalise(str(user.get("mail") or "")) or settings.mailbox_address
    return MailboxAddresses(primary, tuple(address for address in found if address != primary))
