"""`mailroom run-once` loads only what it needs: a cron job may start it every minute."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

SLOW = {"aiohttp", "cryptography", "msal", "requests"}
"""Packages for HTTP triggers, certificates and HTTP clients: a fifth of the CPU time of a run without mail."""


def test_a_run_loads_no_package_that_it_may_not_need() -> None:
    code = "import mailroom_cli.commands.run_once, sys; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = {name.partition(".")[0] for name in ran.stdout.split()}
    assert "functions_host" in loaded
    assert SLOW & loaded == set()
