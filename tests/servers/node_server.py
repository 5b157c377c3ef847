"""Mail servers from npm, each run by a short Node script, and parsers from npm."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import IO

import pytest

from tests.servers.certificates import Ca
from tests.servers.chroot import PROJECT
from tests.servers.logs import ServerLog
from tests.servers.missing import require_installed

SCRIPTS = Path(__file__).resolve().parent


def link_parsers(folder: Path) -> None:
    """Link the parsers parse5, mailparser and postal-mime into a folder.

    Node.js searches for ES modules only next to the script that imports them.
    """
    modules = PROJECT / ".tools" / "readers" / "node_modules"
    require_installed(".tools/readers", installed=modules.is_dir())
    (folder / "node_modules").symlink_to(modules)


class NodeServer:
    """A Node script that serves mail, with its log.

    Attributes:
        ca_file: the CA that issued its certificate.
    """

    def __init__(self, name: str, ca: Ca) -> None:
        """Prepare the script `name.js` for the package in .tools/peers/`name`."""
        self.package = PROJECT / ".tools" / "peers" / name
        self.name = name
        require_installed(name, installed=self.package.is_dir())
        self._folder = Path(tempfile.mkdtemp(prefix=f"{name}-"))
        self.ca_file = ca.write(self._folder)
        self.certificate, self.key = ca.server().write(self._folder, "server")
        self._log = (self._folder / "log").open("wb")
        self._server_log = ServerLog(name, self._folder / "log")

    def start(self, *arguments: object) -> None:
        """Start the script and wait until it reports that it is ready."""
        command = ["node", str(SCRIPTS / f"{self.name}.js"), str(self.package), *map(str, arguments)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, start_new_session=True
        )
        self.read_line("ready")

    def ask(self, request: str) -> None:
        """Send a line to the script, and wait until it repeats it."""
        self._pipe(self._process.stdin).write(request.encode() + b"\n")
        self._pipe(self._process.stdin).flush()
        self.read_line(request)

    def read_line(self, expected: str) -> None:
        """Read the script's next line of output; stop the script and fail with its log if the line is unexpected."""
        line = self._pipe(self._process.stdout).readline().decode().strip()
        if line != expected:
            log = self.log()
            self.stop()
            pytest.fail(f"{self.name} wrote {line!r} instead of {expected!r}:\n{log[-4_000:]}", pytrace=False)

    def log(self) -> str:
        """Return what the script has logged so far."""
        return self._server_log.all()

    def stop(self) -> None:
        """End the script and remove its folder."""
        self._process.kill()
        self._process.wait(10)
        self._pipe(self._process.stdin).close()
        self._pipe(self._process.stdout).close()
        self._log.close()
        self._server_log.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _pipe(self, pipe: IO[bytes] | None) -> IO[bytes]:
        assert pipe is not None
        return pipe
