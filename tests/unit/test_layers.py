"""Imports go down only, and never in a circle (docs/architecture.md has the floors)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

FLOORS: tuple[tuple[str, ...], ...] = (
    ("shared.clock", "shared.errors", "shared.keys", "shared.parallel", "shared.temporary_files"),
    ("shared.addresses", "shared.backoff", "shared.observability", "shared.queue_messages", "shared.setting_values"),
    ("shared.mime", "shared.routing", "shared.storage"),
    ("shared.config", "shared.lease", "shared.receipts"),
    ("shared.mailbox_health", "shared.mailboxes", "shared.receipt_index"),
    ("shared.documents", "shared.graph_notifications", "shared.receipt_index_folding"),
    ("shared.dispatch", "shared.intake"),
    ("shared.operations",),
    ("shared.bootstrap",),
    ("graph_webhook", "poll_timer", "route_message"),
    ("function_app",),
)
"""The packages of the function app, from the lowest floor up. A package imports itself and lower floors only."""

NARROW: dict[str, set[str]] = {
    "functions_host": {"shared.errors", "shared.storage"},
    "graph_simulator": {"shared.errors"},
    "shared.mime": {"shared.addresses"},
    "shared.routing": {"shared.addresses", "shared.errors", "shared.setting_values"},
}
"""Packages that may import less of the project than their floor allows: each can be read and tested alone."""

ON_TOP = ("bench", "functions_host", "fuzz", "graph_simulator", "mailroom_cli", "tests", "tools")
"""Packages that are not deployed. The function app imports none of them."""

TRIGGERS = ("poll_timer", "graph_webhook", "route_message")

IO = {"azure", "pathlib", "requests", "shutil", "socket", "sqlite3", "subprocess", "tempfile", "urllib.request"}
"""Modules that do input or output."""


def modules(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


PATHS = [
    *modules("shared", *TRIGGERS, *(package for package in ON_TOP if package != "tests")),
    ROOT / "function_app.py",
]
NAMES = {module_name(path) for path in PATHS}


def imports(path: Path) -> Iterator[str]:
    """Yield the full names of the modules that a file imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            module = str(node.module)
            for alias in node.names:
                submodule = f"{module}.{alias.name}"
                yield submodule if submodule in NAMES else module


def is_within(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def floor_of(module: str) -> int | None:
    for number, packages in enumerate(FLOORS):
        if any(is_within(module, package) for package in packages):
            return number
    return None


def package_of(module: str) -> str:
    return next(package for packages in FLOORS for package in packages if is_within(module, package))


@pytest.mark.parametrize("path", [*modules("shared", *TRIGGERS), ROOT / "function_app.py"], ids=module_name)
def test_the_app_imports_downward_only(path: Path) -> None:
    name = module_name(path)
    floor = floor_of(name)
    assert floor is not None or name == "shared", f"{name} stands on no floor: add it to FLOORS"
    for module in imports(path):
        assert not any(is_within(module, package) for package in ON_TOP), f"{name} imports {module}"
        imported_floor = floor_of(module)
        if floor is not None and imported_floor is not None and not is_within(module, package_of(name)):
            assert imported_floor < floor, f"{name} imports {module}, which is not on a lower floor"


@pytest.mark.parametrize(("package", "allowed"), NARROW.items())
def test_packages_that_can_be_read_alone_import_little(package: str, allowed: set[str]) -> None:
    for path in modules(package.replace(".", "/")):
        for module in imports(path):
            if module in NAMES and not is_within(module, package):
                assert any(is_within(module, other) for other in allowed), f"{module_name(path)} imports {module}"


def test_no_imports_go_in_a_circle() -> None:
    graph = {
        module_name(path): {module for module in imports(path) if module in NAMES} - {module_name(path)}
        for path in PATHS
    }
    assert tuple(TopologicalSorter(graph).static_order())  # raises CycleError with the circle


@pytest.mark.parametrize("path", modules("tools", "mailroom_cli", "functions_host", "graph_simulator"), ids=module_name)
def test_only_tests_and_measurements_import_tests(path: Path) -> None:
    assert not any(is_within(module, "tests") for module in imports(path))


@pytest.mark.parametrize("path", modules("shared/mime", "shared/routing"), ids=module_name)
def test_parsing_and_routing_do_no_io(path: Path) -> None:
    for module in imports(path):
        assert not any(is_within(module, io) for io in IO), f"{module_name(path)} imports {module}"


def test_only_the_configuration_reads_the_environment() -> None:
    readers = [
        module_name(path)
        for path in modules("shared", *TRIGGERS)
        if "os.environ" in path.read_text() or "getenv" in path.read_text()
    ]
    assert readers
    assert all(is_within(name, "shared.config") for name in readers), readers


def test_the_functions_are_thin() -> None:
    for path in modules(*TRIGGERS):
        for module in imports(path):
            assert is_within(module, "shared") or module in {"azure.functions", "typing", "logging"}, (
                f"{module_name(path)}: {module}"
            )
