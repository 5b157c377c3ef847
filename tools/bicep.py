"""Check infra/ with the Bicep compiler: errors, warnings, layout, and the snapshots in infra/params.

`python -m tools.bicep` compares; with `--write` it writes layout and snapshots. A snapshot holds every resource that a
deployment with the parameters of its .bicepparam file would make. The compiler runs once, as a JSON-RPC server
(https://aka.ms/bicep/cli), since each start takes seconds.
"""

from __future__ import annotations

import difflib
import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parent.parent
INFRA = ROOT / "infra"
MAIN = INFRA / "main.bicep"

VERSION = "0.49.2"
"""The compiler that wrote the snapshots. Another one may word expressions differently."""

_METADATA = {
    "tenantId": "22222222-2222-2222-2222-222222222222",
    "subscriptionId": "11111111-1111-1111-1111-111111111111",
    "location": "westeurope",
    "deploymentName": None,
}
"""Fixed, since names are hashes of them."""

_SHOWN_LINES = 60
"""Lines that are shown of the differences of a file."""

_MODULE_FILES = INFRA / "params/settings"
"""The parameter files of a module, which is deployed to a resource group."""


class BicepError(Exception):
    """The compiler refused a file, or a deployment engine its parameters."""


class Compiler:
    """A running compiler."""

    def __init__(self, reader: IO[bytes], writer: IO[bytes]) -> None:
        self._reader, self._writer, self._id = reader, writer, 0

    def version(self) -> str:
        """Return the compiler's version."""
        return str(self._call("bicep/version", {})["version"])

    def diagnostics(self, path: Path) -> list[str]:
        """Return the errors and warnings of a file and its modules, each with file and line."""
        if path.suffix == ".bicepparam":
            answer = self._call("bicep/compileParams", {"path": str(path), "parameterOverrides": {}})
        else:
            answer = self._call("bicep/compile", {"path": str(path)})
        return list(dict.fromkeys(map(_line, answer["diagnostics"])))

    def template(self, path: Path) -> dict[str, Any]:
        """Return the compiled template of a file."""
        answer = self._call("bicep/compile", {"path": str(path)})
        if not answer["success"]:
            raise BicepError("\n".join(map(_line, answer["diagnostics"])))
        template: dict[str, Any] = json.loads(answer["contents"])
        return template

    def format(self, path: Path) -> str:
        """Return a file's content in the standard layout."""
        return str(self._call("bicep/format", {"path": str(path)})["contents"])

    def snapshot(self, path: Path, *, group: str | None = None) -> str:
        """Return the snapshot of a parameter file.

        Args:
            path: the file.
            group: the resource group, if the template is deployed to one.
        """
        params = {"path": str(path), "metadata": _METADATA | {"resourceGroup": group}, "externalInputs": None}
        try:
            return str(self._call("bicep/getSnapshot", params)["snapshot"])
        except BicepError as error:
            # The server names no errors of the compiler here.
            raise BicepError("\n".join(self.diagnostics(path)) or str(error)) from None

    def _call(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        self._id += 1
        body = json.dumps({"jsonrpc": "2.0", "id": self._id, "method": method, "params": params}).encode()
        self._writer.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self._writer.flush()
        length = 0
        while line := self._reader.readline().strip():
            if line.lower().startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        answer = json.loads(self._reader.read(length) or b"{}")
        if "result" not in answer:
            raise BicepError(answer.get("error", {}).get("message", "the compiler has ended"))
        result: dict[str, Any] = answer["result"]
        return result


def _line(diagnostic: dict[str, Any]) -> str:
    start = diagnostic["range"]["start"]
    path = Path(diagnostic["source"])
    shown = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
    place = f"{shown}({start['line'] + 1},{start['char'] + 1})"
    return f"{place}: {diagnostic['level']} {diagnostic['code']}: {diagnostic['message']}"


def find_compiler() -> str | None:
    """Return the path of the compiler: $BICEP, or `bicep` on PATH."""
    return os.environ.get("BICEP") or shutil.which("bicep")


@contextmanager
def running(program: str) -> Iterator[Compiler]:
    """Start the compiler, and end it afterwards.

    Profile-guided optimisation would only slow it down: it ends before it gains from that.
    """
    command, environment = [program, "jsonrpc", "--stdio"], {"DOTNET_TieredPGO": "0", **os.environ}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:  # noqa: S603
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield Compiler(process.stdout, process.stdin)
        finally:
            process.kill()


def parameter_files() -> list[Path]:
    """Return the parameter files that have a snapshot."""
    return sorted((INFRA / "params").rglob("*.bicepparam"))


def snapshot_path(path: Path) -> Path:
    """Return the file with the snapshot of a parameter file."""
    return path.with_suffix(".snapshot.json")


def snapshot_of(compiler: Compiler, path: Path) -> str:
    """Return the snapshot that a parameter file should have, with sorted outputs: the compiler's order is random."""
    group = "rg-settings" if path.is_relative_to(_MODULE_FILES) else None
    snapshot = json.loads(compiler.snapshot(path, group=group))
    snapshot["outputs"] = dict(sorted(snapshot["outputs"].items()))
    return json.dumps(snapshot, indent=2, ensure_ascii=False) + "\n"


def check(compiler: Compiler, *, write: bool) -> list[str]:
    """Return what is wrong with infra/; write layout and snapshots first if `write` is set."""
    sources = sorted(INFRA.rglob("*.bicep"))
    files = parameter_files()
    # main.bicep leads to all modules. An error in a parameter file is reported with its snapshot.
    problems = compiler.diagnostics(MAIN)
    if problems:
        return problems
    for path in (*sources, *files):
        problems += _compare(path, compiler.format(path), write=write)
    if problems:
        return problems
    for path in files:
        try:
            problems += _compare(snapshot_path(path), snapshot_of(compiler, path), write=write)
        except BicepError as error:
            problems.append(f"{path.relative_to(ROOT)}: {error}")
    expected = {snapshot_path(path) for path in files}
    for path in sorted((INFRA / "params").rglob("*.snapshot.json")):
        if path not in expected:
            problems.append(f"{path.relative_to(ROOT)}: has no parameter file; delete it")
    return problems


def _compare(path: Path, expected: str, *, write: bool) -> list[str]:
    actual = path.read_text() if path.exists() else ""
    if actual == expected:
        return []
    if write:
        path.write_text(expected)
        return []
    name = str(path.relative_to(ROOT))
    changes = difflib.unified_diff(actual.splitlines(), expected.splitlines(), name, "bicep", lineterm="", n=1)
    return [*itertools.islice(changes, _SHOWN_LINES), f"{name}: differs from what the compiler writes; run make bicep"]


def main(arguments: list[str]) -> int:
    """Run the check; return the exit code."""
    program = find_compiler()
    if program is None:
        sys.stderr.write(
            "infra/ was not compiled: no Bicep compiler. Install it (az bicep install), or set BICEP to its path.\n"
        )
        return 1 if os.environ.get("CI") else 0
    try:
        with running(program) as compiler:
            version, problems = compiler.version(), check(compiler, write="--write" in arguments)
    except (BicepError, OSError) as error:
        version, problems = "", [str(error)]
    if not problems:
        return 0
    sys.stderr.write("\n".join([*problems, f"infra/ fails the checks above ({program} {version}).\n"]))
    if version not in ("", VERSION):
        sys.stderr.write(f"The snapshots were written by Bicep {VERSION}; use that version.\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
