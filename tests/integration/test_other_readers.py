"""Mailroom agrees with mailparser and postal-mime, or a class of docs/reference/parsing.md has the verdict (rule
7.3).
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from shared.mime.parser import parse
from tests.integration.reader_classes import CLASSES
from tests.integration.reader_corpus import ROOT, messages_to_read
from tests.integration.reader_fields import (
    READERS,
    Disagreement,
    compared_fields,
    our_values,
    read_with_others,
    their_values,
)

pytestmark = pytest.mark.servers  # for the packages that `tools/servers.sh` installs

ORDINARY = ("sample ", "mixed ", "mix ")
"""Beginnings of the ids of generated ordinary mail."""

MESSAGES = 2_300
AGREEMENT = 0.84
"""Required share of agreeing fields of all messages. Those of the unit tests are built to be hard to read."""

ORDINARY_AGREEMENT = 0.94

VERDICTS = ("ours", "theirs", "taste")


@dataclass(slots=True)
class Comparison:
    """The result of a comparison.

    Attributes:
        messages: number of messages.
        fields: number of compared fields by message and reader.
        disagreements: the fields that another reader reads differently, and the messages that it refuses.
    """

    messages: int = 0
    fields: Counter[tuple[str, str]] = field(default_factory=Counter)
    disagreements: list[Disagreement] = field(default_factory=list)


def compare(folder: Path) -> Comparison:
    """Read every message of the project's corpus with all three readers."""
    mails = messages_to_read(folder)
    result = Comparison(messages=len(mails))
    for (name, mail), read in zip(mails.items(), read_with_others(folder, mails.values()), strict=True):
        message = parse(mail)
        ours = our_values(message)
        for reader in READERS:
            if error := read[reader].get("error"):
                result.disagreements.append(Disagreement(name, mail, message, reader, "error", "", error, {}))
                continue
            theirs = their_values(read[reader])
            for field_name in compared_fields(message, ours, theirs):
                result.fields[name, reader] += 1
                our_value, their_value = ours[field_name], theirs[field_name]
                if our_value != their_value:
                    case = Disagreement(name, mail, message, reader, field_name, our_value, their_value, theirs)
                    result.disagreements.append(case)
    return result


def test_7_3_each_disagreement_belongs_to_a_class_and_most_fields_agree(tmp_path: Path) -> None:
    # A single test: each worker of pytest-xdist that runs a part of it would read all messages.
    comparison = compare(tmp_path)
    first = [next((entry for entry in CLASSES if entry.matches(case)), None) for case in comparison.disagreements]
    unexplained = [case for case, entry in zip(comparison.disagreements, first, strict=True) if entry is None]
    assert not unexplained, "\n".join(map(str, unexplained[:20]))

    assert [entry.name for entry in CLASSES if entry not in first] == [], "these classes occur in no message"

    assert comparison.messages >= MESSAGES
    assert_agreement(comparison, ("",), AGREEMENT)
    assert_agreement(comparison, ORDINARY, ORDINARY_AGREEMENT)

    cases = zip(comparison.disagreements, first, strict=True)
    ordinary = {entry.name for case, entry in cases if entry and case.id.startswith(ORDINARY)}
    assert ordinary == {"no visible plain text", "a charset that the other reader lacks", "line ends of files"}


def assert_agreement(comparison: Comparison, beginnings: tuple[str, ...], agreement: float) -> None:
    """Fail if less than a share of the fields agrees, in messages whose id has one of some beginnings."""
    for reader in READERS:
        compared = sum(
            count
            for (name, other), count in comparison.fields.items()
            if other == reader and name.startswith(beginnings)
        )
        differ = sum(
            case.reader == reader and case.field != "error" and case.id.startswith(beginnings)
            for case in comparison.disagreements
        )
        print(f"{comparison.messages} messages, {beginnings}, {reader}: {compared} fields, {compared - differ} agree")
        assert compared - differ >= compared * agreement


def test_7_3_the_docs_give_a_verdict_on_each_class() -> None:
    docs = (ROOT / "docs" / "reference" / "parsing.md").read_text("utf-8")
    section = docs.partition("## Comparison with mailparser and postal-mime\n")[2].partition("\n## ")[0]
    rows = [re.split(r"\s*\|\s*", line.strip("| ")) for line in section.splitlines() if line.startswith("|")]
    rows = rows[rows.index(["class", "ours", "theirs", "verdict"]) + 2 :]
    assert [row[0] for row in rows] == [entry.name for entry in CLASSES]
    assert all(len(row) == 4 and row[3].startswith(VERDICTS) for row in rows)
