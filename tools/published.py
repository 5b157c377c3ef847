"""Write docs/schemas, generated from the document types, and docs/examples, documents that the app wrote.

`make docs` runs it. Tests check that both folders are up to date (rule 7.2).
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
from tools.example_documents import ExampleStore

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


class _ClosedSchema(GenerateJsonSchema):
    """Generates schemas without additional properties, and without titles that only repeat field names."""

    def typed_dict_schema(self, schema: core_schema.TypedDictSchema) -> JsonSchemaValue:
        return {**super().typed_dict_schema(schema), "additionalProperties": False}

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002  none is
        return False


def file_name(schema: str) -> str:
    """Return the file name of a schema, such as `result-1.json` for `mailroom/result/1`."""
    return schema.removeprefix("mailroom/").replace("/", "-") + ".json"


def schemas() -> dict[str, str]:
    """Return every schema's text, by file name."""
    texts = {}
    for document in DOCUMENTS:
        generated = TypeAdapter(document).json_schema(schema_generator=_ClosedSchema)
        name = generated["properties"]["schema"]["const"]
        properties = _schema_first(generated.pop("properties"))
        schema = {
            "$schema": DIALECT,
            **generated,
            "title": name,
            "properties": properties,
            "required": list(properties),
        }
        texts[file_name(name)] = _text(schema)
    return texts


def examples() -> dict[str, str]:
    """Return the text of a document of each kind, as the app writes it, by file name."""
    with TemporaryDirectory(prefix="mailroom-docs-") as folder:
        store = ExampleStore(f"folder:{folder}")
        store.write_every_kind()
        invoice = _find_by_subject(store, "routed/billing/", "Invoice 2026-117")
        press = _find_by_subject(store, "unhandled/", "For the press")
        sales = _find_by_subject(store, "routed/sales/", "Ten chairs, please")
        documents = {
            "message": store.read(store.read(invoice)["paths"]["message"]),
            "result": store.read(invoice),
            "unhandled": store.read(press),
        }
        for kind in ("duplicates", "blocked", "failed", "oversized", "unreadable"):
            documents[kind] = next(document for _, document in store.documents(f"{kind}/"))
        store.replay(press)
        store.replay(sales, reissue=True)
        documents["unhandled-resolved"] = store.read(press)
        [documents["result-reissued"]] = [result for _, result in store.documents("routed/") if result["replaces"]]
        store.storage.close()
    return {f"{name}.json": _text(document) for name, document in documents.items()}


def write(folder: Path, texts: Mapping[str, str]) -> None:
    """Write the files, and remove examples that no longer exist.

    Schemas of earlier versions stay, since stored documents refer to them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    for old in folder.glob("*.json"):
        if old.name not in texts and not re.search(r"-\d+\.json$", old.name):
            old.unlink()


def _find_by_subject(store: ExampleStore, prefix: str, subject: str) -> str:
    return next(path for path, document in store.documents(prefix) if document["envelope"]["subject"] == subject)


def _schema_first(properties: dict[str, Any]) -> dict[str, Any]:
    return {"schema": properties["schema"], **properties}


def _text(document: object) -> str:
    return json.dumps(document, ensure_ascii=False, indent=2) + "\n"


if __name__ == "__main__":
    logging.getLogger("mailroom").addHandler(logging.NullHandler())  # skipped and failed messages are expected
    write(DOCS / "schemas", schemas())
    write(DOCS / "examples", examples())
