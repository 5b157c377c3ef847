"""The links between the pages of a list, followed to an end even where Graph does not send a last page.

Graph has sent an empty page whose `@odata.nextLink` leads back to the same page, for weeks (microsoft-graph-docs issue
4897, msgraph-sdk-dotnet issue 54).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote

NEXT: Final = "@odata.nextLink"

MAX_PAGES_WITHOUT_NEW: Final = 100
"""Consecutive pages without a new item after which a list is assumed to be complete."""

_log = logging.getLogger("mailroom.graph")


class Links:
    """The links that were followed in one list.

    Args:
        mailbox: the mailbox's name, for the log.
        first: the link that the list begins with; None if it begins with a request that Mailroom built.

    Attributes:
        circular: whether the list was ended because a link came twice.
    """

    def __init__(self, mailbox: str, first: str | None = None) -> None:
        self._mailbox = mailbox
        self._followed = set() if first is None else {_normalise(first)}
        self._without_new = 0
        self.circular = False

    def next(self, page: Mapping[str, Any], *, has_new: bool) -> str | None:
        """Return the link to the next page; None at the end, or where following it would never end.

        Args:
            page: the current page.
            has_new: whether the page has an item that is on none of the pages before it.
        """
        if NEXT not in page:
            return None
        link = str(page[NEXT])
        self._without_new = 0 if has_new else self._without_new + 1
        if _normalise(link) in self._followed:
            self.circular = True
            _log.warning(
                "mailbox %s: Microsoft Graph sent the same link to the next page twice; the list ends here",
                self._mailbox,
            )
            return None
        if self._without_new >= MAX_PAGES_WITHOUT_NEW:
            _log.warning(
                "mailbox %s: %d pages without a new item; the list ends here", self._mailbox, self._without_new
            )
            return None
        self._followed.add(_normalise(link))
        return link


def _normalise(link: str) -> str:
    """Return a link without percent-encoding: the same link may be encoded differently."""
    return unquote(link)
