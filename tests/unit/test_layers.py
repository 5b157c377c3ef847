"""No module imports upward (docs/design.md draws the rooms)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

LOW = (
    *("shared.addresses", "shared.errors", "shared.clock", "shared.keys"),
    *("shared.config", "shared.storage", "shared.receipts"),
)
TEMPORARY = "shared.temporary_files"
COMMON = (
    "shared.backoff",
    "shared.queue_messages",
    "shared.lease",
    "shared.mailbox_health",
    "shared.observability",
)

MAY_IMPORT = {
    "shared.addresses": set(),
    "shared.errors": set(),
    "shared.clock": set(),
    "shared.keys": set(),
    TEMPORARY: set(),
    "shared.backoff": {"shared.errors"},
    "shared.documents.blob_paths": {"shared.keys"},
    "shared.mime": {"shared.addresses"},
    "shared.routing": set(),
    "shared.storage": {"shared.errors", TEMPORARY},
    "shared.config": {"shared.addresses", "shared.errors", "shared.storage.location"},
    "shared.mailboxes": {"shared.addresses", "shared.errors", "shared.config", "shared.clock", TEMPORARY},
    "shared.observability": {"shared.errors"},
    "shared.receipts": {"shared.storage"},
    "shared.queue_messages": {"shared.errors", "shared.keys"},
    "shared.lease": {"shared.errors", "shared.storage"},
    "shared.mailbox_health": {*LOW, "shared.queue_messages", "shared.observability"},
    "shared.documents": {*LOW, "shared.mime", "shared.routing", "shared.mailboxes.spool"},
    "shared.intake": {*LOW, *COMMON, "shared.mime", "shared.mailboxes", "shared.documents"},
    "shared.dispatch": {*LOW, *COMMON, "shared.mime", "shared.routing", "shared.mailboxes.spool", "shared.documents"},
    "shared.graph_notifications": {*LOW, *COMMON, "shared.mailboxes"},
    "shared.operations": {
        *(*LOW, *COMMON, "shared.mime", "shared.routing", "shared.graph_notifications.subscription_record"),
        *("shared.documents", "shared.dispatch"),
    },
}
"""What each room may import of the project, besides itself. Rooms not named here are above all of these."""

ABOVE = (
    "mailroom_cli",
    "functions_host",
    "graph_simulator",
    "bench",
    "fuzz",
    "poll_timer",
    "graph_webhook",
    "route_message",
    "function_app",
)
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


@pytest.mark.parametrize("path", modules("shared/mime", "shared/routing"), ids=name_of)
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
    assert all(within(name, "shared.config") for name in readers), readers


def test_the_functions_are_thin() -> None:
    for path in modules(*TRIGGERS[:3]):
        for module in imports(path):
            assert within(module, "shared") or module in {"azure.functions", "typing", "logging"}, (
                f"{name_of(path)}: {module}"
            )
