"""A test whose server is missing says which command installs it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.servers import azurite, chroot, dovecot, node_server
from tests.servers.certificates import Ca

START: dict[str, Callable[[], object]] = {
    "Dovecot": lambda: dovecot.Dovecot(Ca()),
    "Azurite": azurite.find_azurite,
    "courier": lambda: chroot.Chroot("courier"),
    "wildduck": lambda: node_server.NodeServer("wildduck", Ca()),
    ".tools/readers": lambda: node_server.link_parsers(Path()),
}


@pytest.mark.parametrize("name", START)
def test_the_command_that_installs_a_missing_server_is_shown(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_args, **_options: None)
    monkeypatch.delenv("MAILROOM_AZURITE", raising=False)
    for module, folder in ((azurite, "ROOT"), (chroot, "PROJECT"), (node_server, "PROJECT")):
        monkeypatch.setattr(module, folder, tmp_path)
    with pytest.raises(pytest.fail.Exception, match=rf"^{name} is not installed; install it with: make servers$"):
        START[name]()


def test_a_server_that_needs_root_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr(shutil, "which", lambda *_args, **_options: "/usr/sbin/dovecot")
    with pytest.raises(pytest.fail.Exception, match=r"^Dovecot needs root; run pytest as root, "):
        dovecot.Dovecot(Ca())
