"""Writes docs/schemas, made of the types that what is written is checked against, and docs/examples, what was written.

`make docs` runs it; a test holds that both are as it would write them (rule 7.2).
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from shared.documents.message_document import MessageDocument
from shared.documents.schema import (
    BlockedDocument,
    DuplicatesDocument,
    FailedDocument,
    OversizedDocument,
    ResultDocument,
    UnhandledDocument,
    UnreadableDocument,
)
from tests.integration.documents_fixture import PublishedWorld

DOCS: Final = Path(__file__).resolve().parents[1] / "docs"

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

DOCUMENTS: Final = (
    MessageDocument,
    ResultDocument,
    UnhandledDocument,
    DuplicatesDocument,
    BlockedDocument,
    FailedDocument,
    OversizedDocument,
    UnreadableDocument,
)


class _Closed(GenerateJsonSchema):
    """Schemas of documents that hold what is described and nothing else, without titles that repeat the names."""

    def typed_dict_schema(self, schema: core_schema.TypedDictSchema) -> JsonSchemaValue:
        return {**super().typed_dict_schema(schema), "additionalProperties": False}

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002  none is
        return False


def file_name(schema: str) -> str:
    """The file of a schema by what documents have in `schema`: `mailroom/result/1` is in `result-1.json`."""
    return schema.removeprefix("mailroom/").replace("/", "-") + ".json"


def schemas() -> dict[str, str]:
    """Every schema's text, by the name of its file."""
    found = {}
    for document in DOCUMENTS:
        made = TypeAdapter(document).json_schema(schema_generator=_Closed)
        name = made["properties"]["schema"]["const"]
        properties = _schema_first(made.pop("properties"))
        whole = {"$schema": DIALECT, **made, "title": name, "properties": properties, "required": list(properties)}
        found[file_name(name)] = _text(whole)
    return found


def examples() -> dict[str, str]:
    """A document of each kind as the whole path writes it, by the name of its file."""
    with TemporaryDirectory(prefix="mailroom-docs-") as folder:
        world = PublishedWorld(f"folder:{folder}")
        world.leave_every_kind()
        invoice = _of_subject(world, "routed/billing/", "Invoice 2026-117")
        press = _of_subject(world, "unhandled/", "For the press")
        sales = _of_subject(world, "routed/sales/", "Ten chairs, please")
        found = {
            "message": world.read(world.read(invoice)["paths"]["message"]),
            "result": world.read(invoice),
            "unhandled": world.read(press),
        }
        for kind in ("duplicates", "blocked", "failed", "oversized", "unreadable"):
            found[kind] = next(document for _, document in world.documents(f"{kind}/"))
        world.replay(press)
        world.replay(sales, again=True)
        found["unhandled-resolved"] = world.read(press)
        [found["result-reissued"]] = [one for _, one in world.documents("routed/") if one["replaces"]]
        world.stores.close()
    return {f"{name}.json": _text(document) for name, document in found.items()}


def write(folder: Path, texts: Mapping[str, str]) -> None:
    """Write files, and remove those of examples that are none any more.

    Schemas of earlier versions stay: there are documents that name them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    for old in folder.glob("*.json"):
        if old.name not in texts and not re.search(r"-\d+\.json$", old.name):
            old.unlink()


def _of_subject(world: PublishedWorld, prefix: str, subject: str) -> str:
    return next(path for path, one in world.documents(prefix) if one["envelope"]["subject"] == subject)


def _schema_first(properties: dict[str, Any]) -> dict[str, Any]:
    return {"schema": properties["schema"], **properties}


def _text(document: object) -> str:
    return json.dumps(document, ensure_ascii=False, indent=2) + "\n"


if __name__ == "__main__":
    logging.getLogger("mailroom").addHandler(logging.NullHandler())  # what is left or fails is wanted here
    write(DOCS / "schemas", schemas())
    write(DOCS / "examples", examples())
