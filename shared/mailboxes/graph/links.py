"""The links from one page of a list to the next, followed to an end even where Graph does not give one.

Graph has given an empty page whose `@odata.nextLink` names that same page, for weeks (microsoft-graph-docs issue 4897,
msgraph-sdk-dotnet issue 54).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote

NEXT: Final = "@odata.nextLink"

MOST_WITHOUT_NEW: Final = 100
"""Pages in a row without a new item after which a list is taken to be at its end."""

_log = logging.getLogger("mailroom.graph")


class Links:
    """The links that were followed in one list.

    Args:
        mailbox: the name for the log.
        first: the link that the list begins with; None: it begins with a request of our own.

    Attributes:
        circular: the list was ended because a link came twice.
    """

    def __init__(self, mailbox: str, first: str | None = None) -> None:
        self._mailbox = mailbox
        self._followed = set() if first is None else {_comparable(first)}
        self._without_new = 0
        self.circular = False

    def next(self, answer: Mapping[str, Any], *, new: bool) -> str | None:
        """Return the link to the page after `answer`; None at the end, or where following it would never end.

        Args:
            answer: a page.
            new: whether the page had an item that no page before it had.
        """
        if NEXT not in answer:
            return None
        link = str(answer[NEXT])
        self._without_new = 0 if new else self._without_new + 1
        if _comparable(link) in self._followed:
            self.circular = True
            _log.warning(
                "mailbox %s: Microsoft Graph gives the same link to the next page twice; the list ends here",
                self._mailbox,
            )
            return None
        if self._without_new >= MOST_WITHOUT_NEW:
            _log.warning(
                "mailbox %s: %d pages without a new item; the list ends here", self._mailbox, self._without_new
            )
            return None
        self._followed.add(_comparable(link))
        return link


def _comparable(link: str) -> str:
    """Return a link as it is compared: the same one may come with other signs percent-encoded."""
    return unquote(link)
