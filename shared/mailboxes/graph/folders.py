"""Folders by path, in a mailbox that knows them by ids.

`INBOX` is the inbox whatever it is called in the mailbox's language; any other path goes by display names, `/` between
them, and a single name that no folder has may be one of Graph's well-known ones (Graph: mailFolder resource type).
"""

from __future__ import annotations

from typing import Final

from shared.config import MailboxSettings
from shared.errors import FolderMissing
from shared.mailboxes.graph.client import GraphClient
from shared.mailboxes.graph.endpoint import GraphEndpoint
from shared.mailboxes.graph.errors import GraphResponseError
from shared.mailboxes.graph.requests import MailboxRequests, items_of
from shared.mailboxes.tls import setting_name

INBOX: Final = "INBOX"

WELL_KNOWN: Final = {
    name.lower(): name.lower()
    for name in ("Inbox", "Archive", "DeletedItems", "Drafts", "JunkEmail", "Outbox", "SentItems", "Clutter")
} | {"deleted items": "deleteditems", "junk email": "junkemail", "sent items": "sentitems"}
"""What may be written, whatever the case, for what Graph calls these folders in every language."""


async def folder_id(
    client: GraphClient,
    requests: MailboxRequests,
    way: GraphEndpoint,
    settings: MailboxSettings,
    path: str,
    *,
    name: str,
) -> str:
    """The id, or well-known name, of a folder: remembered, or asked for.

    Args:
        client: the session.
        requests: about the mailbox.
        way: to Graph; remembers.
        settings: the mailbox's.
        path: as the settings have it.
        name: of the setting that names the folder, for the error's text.

    Raises:
        FolderMissing: there is none.
        Answered, MailboxBusy, httpx.HTTPError: as `GraphClient.json`.
    """
    found = way.folders.get(settings.name, path) or await _looked_up(client, requests, path)
    if found is None:
        raise FolderMissing(
            f"mailbox {settings.name}: there is no folder {path!r}; check {setting_name(settings, name)}, whose names "
            "are as Outlook shows them, with / between a folder and one inside it"
        )
    way.folders.put(settings.name, path, found)
    return found


async def _looked_up(client: GraphClient, requests: MailboxRequests, path: str) -> str | None:
    if path.upper() == INBOX:
        return "inbox"
    first, *rest = [name.strip() for name in path.split("/") if name.strip()] or [path]
    found = "inbox" if first.upper() == INBOX else await _named(client, requests, first, None)
    if found is None and not rest and first.lower() in WELL_KNOWN:
        found = WELL_KNOWN[first.lower()]
        try:
            await client.json(requests.folder(found))
        except GraphResponseError as answer:
            if not answer.is_gone:
                raise
            found = None
    for name in rest:
        found = None if found is None else await _named(client, requests, name, found)
    return found


async def _named(client: GraphClient, requests: MailboxRequests, name: str, parent: str | None) -> str | None:
    """The folder of a name. Exchange compares without case; the one that is written so wins."""
    folders = items_of(await client.json(requests.folders_named(name, parent)))
    folders = sorted(folders, key=lambda folder: folder.get("displayName") != name)
    return str(folders[0]["id"]) if folders else None
