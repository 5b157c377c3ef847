"""Word configuration errors and warnings. None shows a secret."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from shared.errors import printable

_LONGEST_VALUE = 60
_SHORTEST_SECRET_PART = 4


class Report:
    """Words errors, and collects warnings.

    Attributes:
        warnings: valid settings that look like a mistake, each once.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self.warnings: list[str] = []
        self._secrets = {secret.casefold() for secret in secrets} - {""}

    def line(self, key: str, detail: str, value: str | None = None) -> str:
        """Return an error or a warning as a line.

        Args:
            key: the setting as the operator spells it.
            detail: what is wrong, and how to fix it.
            value: shown before `detail`, unless it holds a secret.
        """
        if value is None:
            return f"{printable(key)}: {detail}"
        shown = "the value" if self._has_secret(value) else printable(value, _LONGEST_VALUE)
        return f"{printable(key)}: {shown} {detail}"

    def warn(self, key: str, detail: str, value: str | None = None) -> None:
        """Report a warning."""
        line = self.line(key, detail, value)
        if line not in self.warnings:
            self.warnings.append(line)

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
