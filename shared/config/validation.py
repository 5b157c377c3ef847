"""What is wrong with the settings, collected until everything has been looked at. No line of it shows a secret."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from shared.errors import printable

Place = tuple[str, ...]
"""Where a setting belongs, in lower case: `("mail_container",)` or `("mailboxes", "support", "port")`."""

Owner = tuple[str, str]
"""Whose fault it is: `("mailboxes", name)`, `("routes", name)`, `(ROUTING, mailbox)`, `ALL_ROUTING` or `APP`."""

APP: Owner = ("", "")

ROUTING = "routing"
"""The kind of owner that has what is wrong with the routes of a mailbox. It holds the mailbox's mail, not the app."""

ALL_ROUTING: Owner = (ROUTING, "")
"""The owner of what is wrong with routes that may take any mailbox's mail."""

_LONGEST_VALUE = 60
_TELLING = 4
_PARTS = 3  # kind, name, setting


class ErrorCollector:
    """Collects faults and warnings.

    Attributes:
        warnings: what is allowed and looks like a mistake.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self.warnings: list[str] = []
        self._secrets = {secret.casefold() for secret in secrets} - {""}
        # Each once, in order, and found fast: ten thousand routes may have as many faults.
        self._lines: dict[Owner, dict[str, None]] = {}
        self._places: set[Place] = set()

    def fault(self, place: Place, key: str, rest: str, value: str | None = None) -> None:
        """Note a fault.

        Args:
            place: where the setting belongs; tells whose fault it is.
            key: the setting as the operator spells it.
            rest: what is wrong, and the remedy.
            value: put before `rest`, if it may be shown.
        """
        self._places.add(place)
        self._add((place[0], place[1]) if len(place) == _PARTS else APP, self._line(key, rest, value))

    def app_fault(self, key: str, rest: str, value: str | None = None) -> None:
        """Note a fault of the whole app, whatever the setting belongs to."""
        self._add(APP, self._line(key, rest, value))

    def routing_fault(self, mailbox: str, key: str, rest: str, value: str | None = None) -> None:
        """Note a fault that holds a mailbox's mail; an empty name holds the mail of all."""
        self._add((ROUTING, mailbox), self._line(key, rest, value))

    def warn(self, key: str, rest: str, value: str | None = None) -> None:
        """Note a warning."""
        line = self._line(key, rest, value)
        if line not in self.warnings:
            self.warnings.append(line)

    def has(self, place: Place) -> bool:
        """Whether a fault of this very setting was noted."""
        return place in self._places

    def of(self, owner: Owner) -> tuple[str, ...]:
        """One owner's faults."""
        return tuple(self._lines.get(owner, ()))

    def by_mailbox(self) -> dict[str, tuple[str, ...]]:
        """The faults that hold mail, by mailbox; by "" those that hold all mail."""
        return {mailbox: self.of((ROUTING, mailbox)) for mailbox in sorted(self.owners(ROUTING))}

    def owners(self, kind: str) -> list[str]:
        """The names of a kind's owners that have faults."""
        return [name for owner_kind, name in self._lines if owner_kind == kind]

    def give(self, owner: Owner, to: Owner) -> None:
        """Make one owner's faults another's."""
        for line in self._lines.pop(owner, {}):
            self._add(to, line)

    def _add(self, owner: Owner, line: str) -> None:
        self._lines.setdefault(owner, {})[line] = None

    def _line(self, key: str, rest: str, value: str | None) -> str:
        if value is None:
            return f"{printable(key)}: {rest}"
        return f"{printable(key)}: {'the value' if self._is_secret(value) else printable(value, _LONGEST_VALUE)} {rest}"

    def _is_secret(self, value: str) -> bool:
        """Whether a value holds a secret, or is a telling part of one, as it is when a list was split."""
        folded = value.casefold()
        return any(secret in folded or (len(folded) >= _TELLING and folded in secret) for secret in self._secrets)


def closest_name(name: str, known: Iterable[str], *, likeness: float = 0.6) -> str | None:
    """The known name that is most like `name`, whatever the case; None if none is like it."""
    by_case = {candidate.upper(): candidate for candidate in known}
    found = difflib.get_close_matches(name.upper(), by_case, n=1, cutoff=likeness)
    return by_case[found[0]] if found else None
