"""Mailroom reads as mailparser and postal-mime do, or a class of docs/parsing.md gives the verdict (rule 7.3)."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

import pytest

from shared.mail.message import parse
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
"""Beginnings of the ids of generated mail that nothing is wrong with."""

MESSAGES = 2_300
AGREEMENT = 0.84
"""Of the fields of all messages. Those of the unit tests are built to be hard to read."""

ORDINARY_AGREEMENT = 0.94

VERDICTS = ("ours", "theirs", "taste")


@dataclass(slots=True)
class Comparison:
    """What was compared.

    Attributes:
        messages: how many messages were read.
        fields: how many fields were compared, by message and reader.
        disagreements: the fields that another reader reads in another way, and the messages that it refuses.
    """

    messages: int = 0
    fields: Counter[tuple[str, str]] = field(default_factory=Counter)
    disagreements: list[Disagreement] = field(default_factory=list)


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """Every message of the project's corpus, read by all three readers."""
    folder = tmp_path_factory.mktemp("readers")
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
            for each in compared_fields(message, ours, theirs):
                result.fields[name, reader] += 1
                if ours[each] != theirs[each]:
                    case = Disagreement(name, mail, message, reader, each, ours[each], theirs[each], theirs)
                    result.disagreements.append(case)
    return result


def test_7_3_every_disagreement_belongs_to_a_class(comparison: Comparison) -> None:
    unexplained = [case for case in comparison.disagreements if not any(each.matches(case) for each in CLASSES)]
    assert not unexplained, "\n".join(map(str, unexplained[:20]))


def test_7_3_every_class_is_the_first_of_some_disagreement(comparison: Comparison) -> None:
    first = (next((each.name for each in CLASSES if each.matches(case)), "") for case in comparison.disagreements)
    shown = Counter(first)
    assert [each.name for each in CLASSES if not shown[each.name]] == []


@pytest.mark.parametrize(("beginnings", "agreement"), [(ORDINARY, ORDINARY_AGREEMENT), (("",), AGREEMENT)])
def test_7_3_most_fields_agree(comparison: Comparison, beginnings: tuple[str, ...], agreement: float) -> None:
    assert comparison.messages >= MESSAGES
    for reader in READERS:
        compared = sum(
            count for (name, each), count in comparison.fields.items() if each == reader and name.startswith(beginnings)
        )
        differ = [case for case in comparison.disagreements if case.reader == reader and case.id.startswith(beginnings)]
        refused = sum(case.field == "error" for case in differ)
        agree = compared - len(differ) + refused
        print(f"{comparison.messages} messages, {beginnings}, {reader}: {compared} fields, {agree} agree")
        assert agree >= compared * agreement


def test_7_3_ordinary_mail_differs_in_three_classes(comparison: Comparison) -> None:
    differ = [case for case in comparison.disagreements if case.id.startswith(ORDINARY)]
    classes = {next(each.name for each in CLASSES if each.matches(case)) for case in differ}
    assert classes == {"no visible plain text", "a charset that the other reader lacks", "line ends of files"}


def test_7_3_the_docs_give_a_verdict_on_each_class() -> None:
    docs = (ROOT / "docs" / "parsing.md").read_text("utf-8")
    section = docs.partition("## Beside mailparser and postal-mime\n")[2].partition("\n## ")[0]
    rows = [re.split(r"\s*\|\s*", line.strip("| ")) for line in section.splitlines() if line.startswith("|")]
    rows = rows[rows.index(["class", "ours", "theirs", "verdict"]) + 2 :]
    assert [row[0] for row in rows] == [each.name for each in CLASSES]
    assert all(len(row) == 4 and row[3].startswith(VERDICTS) for row in rows)
