"""Collect configuration errors until all settings are checked. No error or warning shows a secret."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from pydantic import ValidationError

from shared.errors import InvalidValue, printable

Place = tuple[str, ...]
"""The place of a setting, in lower case: `("mail_container",)` or `("mailboxes", "support", "port")`."""

Owner = tuple[str, str]
"""What an error disables: `("mailboxes", name)`, `("routes", name)`, `(ROUTING, mailbox)`, `ALL_ROUTING` or `APP`."""

APP: Owner = ("", "")

ROUTING = "routing"
"""The first part of the owner of errors that hold a mailbox's mail: it is stored, and routed once they are fixed."""

ALL_ROUTING: Owner = (ROUTING, "")
"""The owner of errors in routes that may apply to every mailbox."""

_LONGEST_VALUE = 60
_SHORTEST_SECRET_PART = 4
_OWNED_PARTS = 3  # kind, name, setting


class ErrorCollector:
    """Collects configuration errors and warnings.

    Attributes:
        warnings: valid settings that look like a mistake.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self.warnings: list[str] = []
        self._secrets = {secret.casefold() for secret in secrets} - {""}
        # Dictionaries as ordered sets: ten thousand routes may have as many errors.
        self._lines: dict[Owner, dict[str, None]] = {}
        self._places: set[Place] = set()

    def error(self, place: Place, key: str, detail: str, value: str | None = None) -> None:
        """Report an error.

        Args:
            place: the setting's place, which determines the owner.
            key: the setting as the operator spells it.
            detail: what is wrong, and how to fix it.
            value: shown before `detail`, unless it holds a secret.
        """
        self._places.add(place)
        self._add((place[0], place[1]) if len(place) == _OWNED_PARTS else APP, self._line(key, detail, value))

    def validation_error(self, place: Place, key: str, error: ValidationError) -> None:
        """Report what pydantic found wrong with a setting's value. The error itself holds the value: do not keep it."""
        for problem in error.errors(include_input=False, include_url=False):
            cause = problem.get("ctx", {}).get("error")
            if isinstance(cause, InvalidValue):
                self.error(place, key, cause.detail, cause.value)
            else:
                self.error(place, key, f"{problem['msg']}; correct it")

    def app_error(self, key: str, detail: str) -> None:
        """Report an error of the whole app, whatever the setting's place is."""
        self._add(APP, self._line(key, detail, None))

    def routing_error(self, mailbox: str, key: str, detail: str, value: str | None = None) -> None:
        """Report an error that holds a mailbox's mail; an empty name holds the mail of all mailboxes."""
        self._add((ROUTING, mailbox), self._line(key, detail, value))

    def warn(self, key: str, detail: str, value: str | None = None) -> None:
        """Report a warning."""
        line = self._line(key, detail, value)
        if line not in self.warnings:
            self.warnings.append(line)

    def has(self, place: Place) -> bool:
        """Return whether an error of exactly this setting was reported."""
        return place in self._places

    def errors(self, owner: Owner) -> tuple[str, ...]:
        """Return the errors of an owner."""
        return tuple(self._lines.get(owner, ()))

    def routing_errors(self) -> dict[str, tuple[str, ...]]:
        """Return the errors that hold mail, by mailbox; those under "" hold all mail."""
        return {mailbox: self.errors((ROUTING, mailbox)) for mailbox in sorted(self.owners(ROUTING))}

    def owners(self, kind: str) -> list[str]:
        """Return the names of a kind's owners that have errors."""
        return [name for owner_kind, name in self._lines if owner_kind == kind]

    def reassign(self, owner: Owner, new_owner: Owner) -> None:
        """Move the errors of an owner to another."""
        for line in self._lines.pop(owner, {}):
            self._add(new_owner, line)

    def _add(self, owner: Owner, line: str) -> None:
        self._lines.setdefault(owner, {})[line] = None

    def _line(self, key: str, detail: str, value: str | None) -> str:
        if value is None:
            return f"{printable(key)}: {detail}"
        shown = "the value" if self._has_secret(value) else printable(value, _LONGEST_VALUE)
        return f"{printable(key)}: {shown} {detail}"

    def _has_secret(self, value: str) -> bool:
        """Return whether a value holds a secret, or is a long enough part of one, such as an entry of a split list."""
        folded = value.casefold()
        return any(
            secret in folded or (len(folded) >= _SHORTEST_SECRET_PART and folded in secret) for secret in self._secrets
        )


def closest_name(name: str, names: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """Return the name that resembles `name` most, in any case; None if the similarity of all is below `cutoff`."""
    by_upper_case = {candidate.upper(): candidate for candidate in names}
    matches = difflib.get_close_matches(name.upper(), by_upper_case, n=1, cutoff=cutoff)
    return by_upper_case[matches[0]] if matches else None
