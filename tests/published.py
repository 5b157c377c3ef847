"""Validate documents against docs/schemas, as a consumer would (rule 7.2)."""

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
"""Names of document kinds in schemas, by folder of the container, where the two differ."""


@cache
def validator(schema: str) -> Draft202012Validator:
    """Return the validator of a schema by its name, the value of a document's field `schema`."""
    content = json.loads((SCHEMAS / file_name(schema)).read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(content)
    return Draft202012Validator(content)


def schema_errors(document: dict[str, Any]) -> list[str]:
    """Return a line for each violation of the schema that the document names."""
    errors = validator(document["schema"]).iter_errors(document)
    return [f"{error.json_path}: {error.message[:300]}" for error in errors]


def count_valid(documents: Iterable[tuple[str, dict[str, Any]]]) -> Counter[str]:
    """Assert that documents are valid and match their path's kind, and count them by schema."""
    counts: Counter[str] = Counter()
    for path, document in documents:
        assert schema_errors(document) == [], path
        folder = path.partition("/")[0]
        assert document["schema"] == f"mailroom/{FOLDERS.get(folder, folder)}/1", path
        counts[document["schema"]] += 1
    return counts
