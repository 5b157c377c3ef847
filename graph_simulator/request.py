"""One request to Graph on its way through the stand-in."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from graph_simulator.app_registrations import App
from graph_simulator.errors import bad_request, no_such_item
from graph_simulator.items import Folder, Message
from graph_simulator.mailbox_store import Store
from graph_simulator.state import State

_PREFERENCE = re.compile(r'([\w.\-]+)\s*(?:=\s*("[^"]*"|[^,;\s]*))?')
_LARGEST_PAGE = 1_000


@dataclass(frozen=True, slots=True)
class Preferences:
    """What the `Prefer` headers ask for, as far as it is known here.

    Attributes:
        immutable: immutable ids.
        page: items in a page; None: not said.
    """

    immutable: bool = False
    page: int | None = None

    def applied(self) -> str:
        """What `Preference-Applied` says; empty: nothing."""
        said = ['IdType="ImmutableId"'] if self.immutable else []
        if self.page is not None:
            said.append(f"odata.maxpagesize={self.page}")
        return ", ".join(said)


def preferences(text: str) -> Preferences:
    """Read `Prefer` headers, joined by commas. What is not known is left aside, as preferences are."""
    found = {match[1].lower(): (match[2] or "").strip('"') for match in _PREFERENCE.finditer(text)}
    page = found.get("odata.maxpagesize", "")
    size = min(int(page), _LARGEST_PAGE) if page.isascii() and page.isdigit() else 0
    return Preferences(found.get("idtype", "").lower() == "immutableid", size or None)


@dataclass(frozen=True, slots=True)
class Response:
    """A JSON answer, or one without a body."""

    status: int
    body: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """A request that is signed in and may do what it asks for.

    Attributes:
        state: what all share.
        request: as aiohttp has it.
        app: who asks.
        place: the path's address without its options, as links to further pages need it.
        options: the query options.
        preferences: from the headers.
        body: what was sent along.
        mailbox: if the path names one.
        folder_key: the folder's id or name in the path; empty: none.
        key: the id of the message or subscription in the path; empty: none.
    """

    state: State
    request: web.Request
    app: App
    place: str
    options: dict[str, str]
    preferences: Preferences
    body: bytes = field(repr=False)
    mailbox: Store | None = None
    folder_key: str = ""
    key: str = ""

    @property
    def store(self) -> Store:
        """The mailbox of a path that names one."""
        assert self.mailbox is not None
        return self.mailbox

    def folder(self) -> Folder:
        """The folder that the path names.

        Raises:
            GraphError: there is none.
        """
        found = self.store.folder(self.folder_key)
        if found is None:
            raise no_such_item()
        return found

    def message(self) -> Message:
        """The message that the path names.

        Raises:
            GraphError: there is none, or not in the folder that the path names.
        """
        found = self.store.message(self.key)
        if found is None or (self.folder_key and found.folder is not self.folder()):
            raise no_such_item()
        return found

    def json(self) -> dict[str, Any]:
        """The body as a JSON object.

        Raises:
            GraphError: it is none, or is not called JSON.
        """
        try:
            value = json.loads(self.body)
        except ValueError:
            value = None
        if not isinstance(value, dict) or self.request.content_type != "application/json":
            raise bad_request("Unable to read JSON request payload. Send application/json.")
        return value
