"""One mailbox or one route while it is being checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from shared.config.env_keys import EnvironmentKeys
from shared.config.schema import WrittenMailbox, WrittenRoute
from shared.config.validation import ErrorCollector

W = TypeVar("W", WrittenMailbox, WrittenRoute)


@dataclass(frozen=True, slots=True)
class Section(Generic[W]):
    """What checks need to know, and where they put faults.

    Attributes:
        kind: `mailboxes` or `routes`.
        name: lower case.
        written: its settings as far as they are right.
        keys: what is given, and how it is spelled.
        report: takes the faults.
    """

    kind: str
    name: str
    written: W
    keys: EnvironmentKeys
    report: ErrorCollector

    def given(self, setting: str) -> bool:
        """Whether a setting is given, be it right or wrong."""
        return (self.kind, self.name, setting.lower()) in self.keys.given

    def key(self, setting: str) -> str:
        """A setting as the operator spells it, or would."""
        found = self.keys.values.get((self.kind, self.name, setting.lower()))
        return found.key if found else self.keys.spell(self.kind, self.name, setting)

    def fault(self, setting: str, rest: str, value: str | None = None) -> None:
        """Note what is wrong with a setting."""
        self.report.fault((self.kind, self.name, setting.lower()), self.key(setting), rest, value)

    def missing(self, setting: str, remedy: str) -> None:
        """Note that a setting is missing, unless it is there and wrong, which has been told already."""
        if not self.report.has((self.kind, self.name, setting.lower())):
            self.fault(setting, f"is not set; {remedy}")
