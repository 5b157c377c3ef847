"""What a test says if a server is not installed, or needs root."""

from __future__ import annotations

import os

import pytest


def require_installed(name: str, *, installed: bool) -> None:
    """Fail the test with the command that installs a server or package, unless it is installed."""
    if not installed:
        pytest.fail(f"{name} is not installed; install it with: make servers", pytrace=False)


def require_root(name: str) -> None:
    """Fail the test unless it runs as root."""
    if os.geteuid() != 0:
        pytest.fail(f"{name} needs root; run pytest as root, for example in a container", pytrace=False)
