"""Measure the package and its cold imports: `python -m tools.measure_package`, for docs/explanation/speed.md.

Each import runs in a new process, which cannot write bytecode, as in Azure. The files are in the page cache. Times are
CPU times of the process, which other programs on the machine change less than the elapsed time.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import tempfile
import zipfile
from pathlib import Path

from tools.package import SITE_PACKAGES, build, dependencies, find_python, install_locked, size

RUNS = 7

INDEXING = "import azure_functions_runtime, function_app"
"""What a worker imports before the first call."""

FIRST_POLL = f"{INDEXING}, shared.bootstrap, shared.mailboxes.graph.mailbox, shared.mailboxes.oauth.msal_client"
FIRST_POLL += ", shared.storage.azure.blobs, shared.storage.azure.records, shared.storage.azure.queues"
FIRST_POLL += ", azure.identity, azure.monitor.opentelemetry"
"""What the first poll of a Graph mailbox imports as well."""


def main() -> None:
    """Print a row of a Markdown table for each variant of the package."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        remote, plain, package = folder / "remote", folder / "plain", folder / "package"
        python = find_python()
        bare = folder / "bare"
        shutil.copytree(dependencies(), bare, ignore=shutil.ignore_patterns("__pycache__"))
        for variant, packages in ((remote, install_locked()), (plain, bare), (package, dependencies())):
            _unpack(variant, packages)
        print("| package | files | MB | MB packed | indexing, s | first poll, s |")  # noqa: T201
        print("| --- | --- | --- | --- | --- | --- |")  # noqa: T201
        _row(python, "all packages, no bytecode", remote)
        _row(python, "pruned, no bytecode", plain)
        _row(python, "pruned, with bytecode (`make package`)", package)
        _time(python, remote, FIRST_POLL, write=True)
        _row(python, "all packages, bytecode of what is imported", remote)


def _unpack(folder: Path, packages: Path) -> None:
    archive = folder.with_suffix(".zip")
    build(archive, packages=packages)
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(folder)


def _row(python: str, name: str, folder: Path) -> None:
    count, total = size(folder)
    packed = folder.with_suffix(".zip").stat().st_size / 1e6
    seconds = [
        statistics.median(_time(python, folder, statement) for _ in range(RUNS)) for statement in (INDEXING, FIRST_POLL)
    ]
    print(f"| {name} | {count:,} | {total / 1e6:.1f} | {packed:.1f} | {seconds[0]:.2f} | {seconds[1]:.2f} |")  # noqa: T201


def _time(python: str, folder: Path, statement: str, *, write: bool = False) -> float:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(folder / SITE_PACKAGES)}
    if not write:
        environment["PYTHONDONTWRITEBYTECODE"] = "1"
    command = [python, "-S", "-c", statement]
    before = os.times()
    subprocess.run(command, cwd=folder, env=environment, check=True)  # noqa: S603  the command is this script's
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


if __name__ == "__main__":
    main()
