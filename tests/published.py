"""Judges documents by the schemas in docs/schemas, as a consumer would (rule 7.2)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from tools.published import file_name

ROOT = Path(__file__).resolve().parents[1]
SCHEMAS = ROOT / "docs/schemas"
EXAMPLES = ROOT / "docs/examples"

FOLDERS = {"messages": "message", "routed": "result"}
"""What the documents of a folder in the container are named in their schema, where that is another name."""


@cache
def validator(schema: str) -> Draft202012Validator:
    """By what a document has in `schema`."""
    made = json.loads((SCHEMAS / file_name(schema)).read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(made)
    return Draft202012Validator(made)


def faults(document: dict[str, Any]) -> list[str]:
    """What is wrong with a document by the schema that it names."""
    return [f"{one.json_path}: {one.message[:300]}" for one in validator(document["schema"]).iter_errors(document)]


def judged(documents: Iterable[tuple[str, dict[str, Any]]]) -> Counter[str]:
    """See that documents are valid, and of the kind that their path says. Gives how many there are of each schema."""
    found: Counter[str] = Counter()
    for path, document in documents:
        assert faults(document) == [], path
        folder = path.partition("/")[0]
        assert document["schema"] == f"mailroom/{FOLDERS.get(folder, folder)}/1", path
        found[document["schema"]] += 1
    return found
