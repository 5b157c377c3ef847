"""A request to Graph after authentication and authorization, and its response."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from graph_simulator.app_registrations import App
from graph_simulator.errors import bad_request, no_such_item
from graph_simulator.items import Folder, Message
from graph_simulator.mailbox_store import MailboxStore
from graph_simulator.state import State

_PREFERENCE = re.compile(r'([\w.\-]+)\s*(?:=\s*("[^"]*"|[^,;\s]*))?')
_MAX_PAGE_SIZE = 1_000


@dataclass(frozen=True, slots=True)
class Preferences:
    """The supported preferences in `Prefer` headers.

    Attributes:
        immutable: whether ids are immutable.
        page: items in a page; None: not specified.
    """

    immutable: bool = False
    page: int | None = None

    def applied(self) -> str:
        """Return the value of `Preference-Applied`; empty if no preference was applied."""
        applied = ['IdType="ImmutableId"'] if self.immutable else []
        if self.page is not None:
            applied.append(f"odata.maxpagesize={self.page}")
        return ", ".join(applied)


def parse_preferences(text: str) -> Preferences:
    """Parse `Prefer` headers joined by commas. Unknown preferences are ignored (RFC 7240 section 2)."""
    values = {match[1].lower(): (match[2] or "").strip('"') for match in _PREFERENCE.finditer(text)}
    page = values.get("odata.maxpagesize", "")
    size = min(int(page), _MAX_PAGE_SIZE) if page.isascii() and page.isdigit() else 0
    return Preferences(values.get("idtype", "").lower() == "immutableid", size or None)


@dataclass(frozen=True, slots=True)
class Response:
    """A JSON response, or one without a body."""

    status: int
    body: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """An authorized request.

    Attributes:
        state: the simulator's state.
        http_request: aiohttp's request.
        app: the app that sent the request.
        url: the request's URL without the query, for links to further pages.
        options: query options.
        preferences: preferences in the headers.
        body: the request's body.
        mailbox: the mailbox in the path; None: none.
        folder_key: the folder's id or well-known name in the path; empty: none.
        key: id of the message, subscription or user in the path; empty: none.
    """

    state: State
    http_request: web.Request
    app: App
    url: str
    options: dict[str, str]
    preferences: Preferences
    body: bytes = field(repr=False)
    mailbox: MailboxStore | None = None
    folder_key: str = ""
    key: str = ""

    @property
    def store(self) -> MailboxStore:
        """The mailbox of a path that names one."""
        assert self.mailbox is not None
        return self.mailbox

    def folder(self) -> Folder:
        """Return the folder in the path.

        Raises:
            GraphError: the folder does not exist.
        """
        folder = self.store.folder(self.folder_key)
        if folder is None:
            raise no_such_item()
        return folder

    def message(self) -> Message:
        """Return the message in the path.

        Raises:
            GraphError: the message does not exist, or is not in the folder in the path.
        """
        message = self.store.message(self.key)
        if message is None or (self.folder_key and message.folder is not self.folder()):
            raise no_such_item()
        return message

    def json(self) -> dict[str, Any]:
        """Return the body as a JSON object.

        Raises:
            GraphError: the body is not a JSON object, or its content type is not JSON.
        """
        try:
            value = json.loads(self.body)
        except ValueError:
            value = None
        if not isinstance(value, dict) or self.http_request.content_type != "application/json":
            raise bad_request("Unable to read JSON request payload. Send application/json.")
        return value
