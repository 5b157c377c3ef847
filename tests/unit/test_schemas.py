"""The published schemas: complete, closed, strict, and what the types say (rule 7.2)."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.documents.blob_paths import RECORD_KINDS
from tests.published import EXAMPLES, ROOT, SCHEMAS, schema_errors, validator
from tools import published

KINDS = ("message", "result", *RECORD_KINDS, "oversized", "unreadable")
WRITTEN = sorted(EXAMPLES.glob("*.json"))


def texts(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}


def objects(schema: object) -> Iterator[dict[str, Any]]:
    """Every object that a schema describes."""
    if isinstance(schema, dict):
        if schema.get("type") == "object":
            yield schema
        for inner in schema.values():
            yield from objects(inner)
    elif isinstance(schema, list):
        for inner in schema:
            yield from objects(inner)


def places(document: object) -> Iterator[tuple[str | int, ...]]:
    """The way to every object in a document."""
    inner: list[tuple[str | int, object]] = []
    if isinstance(document, dict):
        yield ()
        inner = list(document.items())
    elif isinstance(document, list):
        inner = list(enumerate(document))
    for key, value in inner:
        for place in places(value):
            yield (key, *place)


def at(document: Any, place: tuple[str | int, ...]) -> Any:
    for key in place:
        document = document[key]
    return document


def test_7_2_the_schemas_in_the_docs_are_those_of_the_types() -> None:
    assert texts(SCHEMAS) == published.schemas(), "run `make docs`"


def test_7_2_the_examples_in_the_docs_are_what_is_written() -> None:
    assert texts(EXAMPLES) == published.examples(), "run `make docs`"


def test_7_2_every_kind_of_document_has_a_schema_and_an_example() -> None:
    assert {path.name for path in SCHEMAS.iterdir()} == {f"{kind}-1.json" for kind in KINDS}
    assert {json.loads(path.read_text())["schema"] for path in WRITTEN} == {f"mailroom/{kind}/1" for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_7_2_a_schema_is_closed_and_says_what_each_field_is(kind: str) -> None:
    schema = validator(f"mailroom/{kind}/1").schema
    assert isinstance(schema, dict)
    assert schema["properties"]["schema"]["const"] == f"mailroom/{kind}/1"
    schemas = list(objects(schema))
    assert schemas
    for item in schemas:
        assert item["additionalProperties"] is False, item["title"]
        assert sorted(item["required"]) == sorted(item["properties"]), item["title"]
        assert item["description"], item["title"]
        for name, field in item["properties"].items():
            assert "description" in field or "$ref" in field, f"{item['title']}.{name}"


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.stem)
def test_7_2_an_example_is_valid_and_with_any_field_less_more_or_of_another_type_it_is_not(path: Path) -> None:
    document = json.loads(path.read_text(encoding="utf-8"))
    assert schema_errors(document) == []
    judge = validator(document["schema"])
    for place in places(document):
        for name in [*at(document, place), "another"]:
            fields = at(changed := copy.deepcopy(document), place)
            was = fields.pop(name, None)
            if name == "another":
                fields[name] = was
            assert not judge.is_valid(changed), f"{place} {name}"
            fields[name] = {"of": "another type"}
            assert not judge.is_valid(changed), f"{place} {name}"


def test_7_2_the_docs_for_consumers_name_every_schema_and_example() -> None:
    text = (ROOT / "docs/reference/results.md").read_text(encoding="utf-8")
    linked = set(re.findall(r"\]\(\.\./((?:schemas|examples)/[\w.-]+)\)", text))
    assert linked == {str(path.relative_to(ROOT / "docs")) for path in (*SCHEMAS.iterdir(), *EXAMPLES.iterdir())}
