"""Private root folders, in which the daemons of a Debian package run without being installed.

The packages of mail servers conflict. The files and libraries of each server are therefore unpacked into
.tools/roots/NAME (tools/servers.sh), and each instance runs in a separate copy. The copy is on the RAM disk if that
allows programs and devices.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from tests.servers.logs import ServerLog
from tests.servers.missing import require_installed, require_root

PROJECT = Path(__file__).resolve().parents[2]
RAM_DISK = Path("/dev/shm")
MAIL_UID = 5000
"""User and group `vmail` in every root: the owner of the mail."""
PASSWD = f"root:x:0:0::/root:/bin/sh\nvmail:x:{MAIL_UID}:{MAIL_UID}::/srv:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n"
GROUP = f"root:x:0:\nmail:x:8:\nvmail:x:{MAIL_UID}:\nnogroup:x:65534:\n"


class Chroot:
    """A copy of an unpacked root with its running daemons and their log.

    Attributes:
        path: the root folder, seen from outside.
    """

    def __init__(self, name: str, *, users: Mapping[str, int] | None = None) -> None:
        """Copy the root `name`.

        Args:
            name: the folder below .tools/roots.
            users: further users with their IDs, each with a group of the same name and ID.
        """
        source = PROJECT / ".tools" / "roots" / name
        require_installed(name, installed=source.is_dir())
        require_root(name)
        _remove_leftover_roots(name)
        self._base = Path(tempfile.mkdtemp(prefix=f"{name}-{os.getpid()}-", dir=temporary_folder()))
        self.path = self._base / "root"
        subprocess.run(["cp", "-a", str(source), str(self.path)], check=True)
        self._log = (self._base / "log").open("ab", buffering=0)
        self._server_log = ServerLog(name.capitalize(), self._base / "log")
        self._processes: list[subprocess.Popen[bytes]] = []
        more = users or {}
        for folder in ("dev", "etc", "run", "srv", "tmp", "var/run", "var/tmp"):
            (self.path / folder).mkdir(parents=True, exist_ok=True)
        (self.path / "etc/passwd").write_text(PASSWD + "".join(f"{n}:x:{i}:{i}::/:/bin/sh\n" for n, i in more.items()))
        (self.path / "etc/group").write_text(GROUP + "".join(f"{n}:x:{i}:\n" for n, i in more.items()))
        (self.path / "etc/hosts").write_text("127.0.0.1 localhost\n")
        (self.path / "tmp").chmod(0o1777)
        for device, minor in (("null", 3), ("urandom", 9)):
            os.mknod(self.path / "dev" / device, 0o666 | stat.S_IFCHR, os.makedev(1, minor))
            (self.path / "dev" / device).chmod(0o666)
        self._receive_syslog()

    def write(self, name: str, text: str | bytes, *, mode: int = 0o644, owner: int = 0) -> Path:
        """Write a file below the root; its folders are created with the same owner."""
        path = self.path / name
        if not path.parent.is_dir():
            self.folder(str(Path(name).parent), owner=owner)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        path.chmod(mode)
        os.chown(path, owner, owner)
        # Postfix reads a file that is younger than a second repeatedly, for 1.5 s (dict_load_file_xt).
        os.utime(path, (1_700_000_000, 1_700_000_000))
        return path

    def folder(self, name: str, *, owner: int = 0, mode: int = 0o755) -> Path:
        """Create a folder below the root, with its parents. The owner is set even if the folder exists."""
        path = self.path / name
        if not path.is_dir():
            if not path.parent.is_dir():
                self.folder(str(Path(name).parent), owner=owner, mode=mode)
            path.mkdir()
            path.chmod(mode)
        os.chown(path, owner, owner)
        return path

    def start(self, *command: str, env: Mapping[str, str] | None = None) -> None:
        """Start a daemon that stays in the foreground; its output goes to the log."""
        self._processes.append(
            subprocess.Popen(
                # Some daemons close every descriptor that the limit allows.
                ["prlimit", "--nofile=4096", "chroot", str(self.path), *command],
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **(env or {})},
                start_new_session=True,
            )
        )

    def run(self, *command: str, data: bytes = b"", env: Mapping[str, str] | None = None) -> bytes:
        """Run a command to its end and return its output."""
        done = subprocess.run(
            ["chroot", str(self.path), *command],
            input=data,
            capture_output=True,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **(env or {})},
            timeout=30,
            check=False,
        )
        if done.returncode:
            pytest.fail(f"{command[0]} failed: {(done.stdout + done.stderr).decode('utf-8', 'replace')}\n{self.log()}")
        return done.stdout

    def wait_for(self, ready: Callable[[], bool], what: str) -> None:
        """Wait until a daemon is ready; stop everything and fail with the log after ten seconds."""
        deadline = time.monotonic() + 10
        while not ready():
            ended = [process.returncode for process in self._processes if process.poll() is not None]
            if ended or time.monotonic() > deadline:
                log = self.log()
                self.stop()
                pytest.fail(f"{what} did not start (exit codes {ended}):\n{log[-4_000:]}", pytrace=False)
            time.sleep(0.01)

    def log(self) -> str:
        """Return what the daemons have logged so far."""
        return self._server_log.all()

    def stop(self) -> None:
        """End every process that runs in this root, and remove the root."""
        for _ in range(100):
            for process in self._processes:
                process.poll()
            if not _kill_all_in(self.path):
                break
            time.sleep(0.01)
        for process in self._processes:
            process.wait(10)
        self._syslog.shutdown(socket.SHUT_RDWR)
        self._receiver.join(10)
        self._syslog.close()
        self._log.close()
        self._server_log.close()
        shutil.rmtree(self._base, ignore_errors=True)

    def _receive_syslog(self) -> None:
        """Append the messages that daemons send to /dev/log to the log."""
        self._syslog = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        folder = os.open(self.path / "dev", os.O_DIRECTORY | os.O_PATH)
        # A path through the descriptor, since the path of a socket may have at most 107 bytes (unix(7)).
        self._syslog.bind(f"/proc/self/fd/{folder}/log")
        os.close(folder)
        (self.path / "dev/log").chmod(0o666)

        def receive() -> None:
            while data := self._syslog.recv(65_536):
                self._log.write(data.rstrip(b"\n\0") + b"\n")

        self._receiver = threading.Thread(target=receive, daemon=True)
        self._receiver.start()


def _kill_all_in(root: Path) -> bool:
    """Kill every process with this root folder, and return whether one was running."""
    running = False
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (entry / "root").readlink() == root:
                running = True
                os.kill(int(entry.name), signal.SIGKILL)
    return running


def _remove_leftover_roots(name: str) -> None:
    """Remove the roots of killed test runs, and kill the processes that run in them."""
    folder = Path(temporary_folder() or tempfile.gettempdir())
    for base in folder.glob(f"{name}-*-*"):
        pid = base.name.split("-")[1]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists():
            _kill_all_in(base / "root")
            shutil.rmtree(base, ignore_errors=True)


def temporary_folder() -> Path | None:
    """Return the RAM disk if it allows programs and devices, or None for the default folder."""
    if not RAM_DISK.is_dir() or not os.access(RAM_DISK, os.W_OK):
        return None
    info = os.statvfs(RAM_DISK)
    usable = not info.f_flag & (os.ST_NOEXEC | os.ST_NODEV) and info.f_bavail * info.f_frsize > 1_000_000_000
    return RAM_DISK if usable else None


def listening(port: int, greeting: bytes) -> bool:
    """Return whether a server greets on a port of this machine."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as connection:
        connection.settimeout(5)
        return connection.recv(len(greeting)) == greeting
    return False
