"""What a deployment would make: the snapshots in infra/params. `make check` compares them with the compiler's."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
INFRA = ROOT / "infra"

Resource = dict[str, Any]

INSTALLATIONS = sorted(path.stem for path in (INFRA / "params").glob("*.bicepparam"))


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The snapshot of an installation.

    Attributes:
        name: the parameter file's name without suffix.
        resources: in the order of the template.
        outputs: values by name; a value that only Azure knows is an expression.
    """

    name: str
    resources: tuple[Resource, ...]
    outputs: dict[str, Any]

    def of_type(self, kind: str) -> list[Resource]:
        """Return the resources of a type."""
        return [resource for resource in self.resources if resource["type"] == kind]

    def single(self, kind: str, name: str = "") -> Resource:
        """Return the only resource of a type whose name contains a text."""
        (resource,) = (resource for resource in self.of_type(kind) if name in resource["name"])
        return resource

    def names(self, kind: str) -> list[str]:
        """Return the last parts of the names of a type's resources."""
        return [resource["name"].rpartition("/")[2] for resource in self.of_type(kind)]


@cache
def snapshot(name: str) -> Snapshot:
    """Return the snapshot of a parameter file in infra/params."""
    content = json.loads((INFRA / "params" / f"{name}.snapshot.json").read_text())
    assert content["diagnostics"] == []
    return Snapshot(name, tuple(content["predictedResources"]), content["outputs"])


def app_settings(name: str) -> dict[str, str]:
    """Return the app settings of a parameter file in infra/params/settings."""
    settings: dict[str, str] = snapshot(f"settings/{name}").single("Microsoft.Web/sites/config")["properties"]
    return settings


def code_without_comments(path: Path) -> str:
    """Return a Bicep file's text without the lines that are comments."""
    return re.sub(r"^\s*//.*$", "", path.read_text(), flags=re.MULTILINE)
