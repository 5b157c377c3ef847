"""Documents of a bounded size."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.documents.serialization import to_bytes
from shared.documents.size_limits import fit, shorten_lists


def document(**fields: object) -> dict[str, Any]:
    return {"schema": "mailroom/x/1", **fields, "truncated": []}


def test_a_document_within_its_limit_stays_as_it_is() -> None:
    whole = document(subject="x" * 100, to=[{"name": "", "address": "a@b.example"}])
    assert fit(whole, len(to_bytes(whole))) == to_bytes(whole)
    assert shorten_lists(whole, len(to_bytes(whole))) == whole


def test_only_the_longest_fields_are_cut() -> None:
    whole = document(subject="short", text="t" * 5_000, html="h" * 4_000, hints=["h"] * 5)
    cut = json.loads(fit(whole, 2_000))
    assert len(fit(whole, 2_000)) <= 2_000
    assert cut["truncated"] == ["text", "html"]
    assert (cut["subject"], cut["hints"]) == ("short", ["h"] * 5)
    assert len(cut["text"]) == len(cut["html"]) > 800


def test_entries_of_lists_are_kept_whole() -> None:
    addresses = [{"name": "", "address": f"user{n}@example.com"} for n in range(500)]
    cut = json.loads(fit(document(envelope={"to": addresses, "cc": []}), 1_500))
    assert cut["truncated"] == ["envelope.to"]
    assert cut["envelope"]["to"] == addresses[: len(cut["envelope"]["to"])]
    assert len(cut["envelope"]["to"]) > 15


def test_the_last_references_are_kept() -> None:
    references = [f"{n}@example.com" for n in range(500)]
    cut = json.loads(fit(document(references=references), 1_000))
    assert cut["references"] == references[-len(cut["references"]) :]


def test_an_author_with_a_long_name_keeps_the_address() -> None:
    author = {"name": "n" * 10_000, "address": "a@b.example"}
    [kept] = json.loads(fit(document(envelope={"from": [author]}), 1_000))["envelope"]["from"]
    assert kept["address"] == "a@b.example"
    assert kept["name"] == "n" * len(kept["name"])
    assert len(kept["name"]) > 300


def test_an_identifier_is_never_cut() -> None:
    cut = json.loads(fit(document(envelope={"message_id": "i" * 5_000}), 1_000))
    assert cut["envelope"]["message_id"] is None
    assert cut["truncated"] == ["envelope.message_id"]


def test_fields_that_were_cut_before_stay_named() -> None:
    once = shorten_lists(document(text="t" * 5_000, html="h" * 5_000), 4_000)
    assert json.loads(fit({**once, "subject": "s" * 5_000}, 3_000))["truncated"] == ["text", "html", "subject"]


TEXT = st.one_of(st.text(max_size=3_000), st.sampled_from(["€" * 900, '"\\\n' * 900, "\x01" * 900, "\ud800" * 900]))


@settings(deadline=None)
@given(
    st.fixed_dictionaries({}, optional=dict.fromkeys(("subject", "text", "html"), TEXT)),
    st.lists(st.fixed_dictionaries({"name": TEXT, "address": st.text(max_size=300)}), max_size=30),
    st.integers(1_500, 20_000),
)
def test_no_document_exceeds_its_limit(texts: dict[str, str], addresses: list[dict[str, str]], limit: int) -> None:
    whole = document(
        **texts, **{"from": addresses, "thread": {"references": [address["address"] for address in addresses]}}
    )
    assert len(fit(whole, limit)) <= limit


@pytest.mark.parametrize(
    "value", [{}, [], "", None, 3, {"a": []}, {"a": {"b": [1, 2]}}, ["x", {"y": "z"}], [0] * 1_001]
)
def test_documents_are_json(value: object) -> None:
    assert json.loads(to_bytes(value)) == value
    assert to_bytes(value).endswith(b"\n")


def test_each_entry_of_a_list_is_on_a_line() -> None:
    assert to_bytes({"to": [{"name": "", "address": "a@b.example"}], "cc": []}) == (
        b'{\n "to": [\n  {"name": "", "address": "a@b.example"}\n ],\n "cc": []\n}\n'
    )
