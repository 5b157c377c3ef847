"""No module imports upward (docs/design.md draws the rooms)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

LOW = (
    *("shared.addresses", "shared.errors", "shared.clock", "shared.keys"),
    *("shared.settings", "shared.storage", "shared.receipts"),
)
TEMPORARY = "shared.temporary_files"
COMMON = ("shared.pauses", "shared.queued", "shared.leasing", "shared.health", "shared.telemetry", "shared.telling")

MAY_IMPORT = {
    "shared.addresses": set(),
    "shared.errors": set(),
    "shared.clock": set(),
    "shared.keys": set(),
    TEMPORARY: set(),
    "shared.pauses": {"shared.errors"},
    "shared.stored.layout": {"shared.keys"},
    "shared.mail": {"shared.addresses"},
    "shared.routing": set(),
    "shared.storage": {"shared.errors", TEMPORARY},
    "shared.settings": {"shared.addresses", "shared.errors", "shared.storage.addresses"},
    "shared.mailboxes": {"shared.addresses", "shared.errors", "shared.settings", "shared.clock", TEMPORARY},
    "shared.telemetry": {"shared.errors"},
    "shared.receipts": {"shared.storage"},
    "shared.queued": {"shared.errors"},
    "shared.leasing": {"shared.errors", "shared.storage"},
    "shared.health": {*LOW, "shared.queued", "shared.telemetry"},
    "shared.telling": {"shared.receipts", "shared.telemetry"},
    "shared.stored": {*LOW, "shared.mail", "shared.routing", "shared.mailboxes.spool"},
    "shared.collecting": {*LOW, *COMMON, "shared.mail", "shared.mailboxes", "shared.stored"},
    "shared.sorting": {*LOW, *COMMON, "shared.mail", "shared.routing", "shared.mailboxes.spool", "shared.stored"},
    "shared.notified": {*LOW, *COMMON, "shared.mailboxes"},
    "shared.operating": {
        *(*LOW, *COMMON, "shared.mail", "shared.routing", "shared.notified.subscription_record"),
        *("shared.stored", "shared.sorting"),
    },
}
"""What each room may import of the project, besides itself. Rooms not named here are above all of these."""

ABOVE = ("local", "poll_timer", "graph_webhook", "route_message", "function_app")
"""What nothing in `shared` imports."""

TRIGGERS = ("poll_timer", "graph_webhook", "route_message", "function_app")


def modules(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            if node.module == "shared":
                yield from (f"shared.{alias.name}" for alias in node.names)
            else:
                yield str(node.module)


def within(module: str, room: str) -> bool:
    return module == room or module.startswith(room + ".")


@pytest.mark.parametrize("path", modules("shared"), ids=name_of)
def test_shared_imports_downward_only(path: Path) -> None:
    name = name_of(path)
    room = next((room for room in MAY_IMPORT if within(name, room)), None)
    for module in imports(path):
        assert not any(within(module, above) for above in ABOVE), f"{name} imports {module}"
        if room is not None and within(module, "shared"):
            allowed = {room, *MAY_IMPORT[room]}
            assert any(within(module, one) for one in allowed), f"{name} imports {module}"


@pytest.mark.parametrize("path", modules("shared/mail", "shared/routing"), ids=name_of)
def test_reading_and_routing_do_no_io(path: Path) -> None:
    doing = {"socket", "requests", "urllib.request", "sqlite3", "subprocess", "tempfile", "shutil", "pathlib", "azure"}
    for module in imports(path):
        assert not any(within(module, one) for one in doing), f"{name_of(path)} imports {module}"


def test_only_the_settings_read_the_environment() -> None:
    readers = [
        name_of(path)
        for path in modules("shared", *TRIGGERS[:3])
        if "os.environ" in path.read_text() or "getenv" in path.read_text()
    ]
    assert all(within(name, "shared.settings") for name in readers), readers


def test_the_functions_are_thin() -> None:
    for path in modules(*TRIGGERS[:3]):
        for module in imports(path):
            assert within(module, "shared") or module in {"azure.functions", "typing", "logging"}, (
                f"{name_of(path)}: {module}"
            )
