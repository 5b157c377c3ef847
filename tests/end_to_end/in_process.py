"""Run the `mailroom` command in this process, on a store that mailboxes in memory fill."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from typer.testing import CliRunner, Result

from mailroom_cli.cli import cli
from tests.end_to_end.command import settings_file
from tests.integration.replay_fixture import ReplayFixture, routes

MAILBOX = {"PROTOCOL": "imap", "HOST": "imap.example.com", "PASSWORD": "never-output"}


@contextmanager
def columns(width: int) -> Iterator[None]:
    """Make commands in this process print as on a terminal of a width."""
    variables = {"FORCE_COLOR": "1", "COLUMNS": str(width), "TERM": "dumb"}
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


class OperatorFixture(ReplayFixture):
    """A store with mail, and the command with settings for it.

    Args:
        storage: its address.
        folder: a folder for the settings file.
    """

    def __init__(self, storage: str, folder: Path) -> None:
        super().__init__(storage)
        self.folder = folder

    def run(self, *words: str, settings: Mapping[str, str], stdin: bytes | None = None) -> Result:
        """Run a command with these routes, and settings of both mailboxes."""
        values = {f"MAILBOXES__{name}__{key}": value for name in self.servers for key, value in MAILBOX.items()}
        file = settings_file(self.folder, self.storage, {**values, **routes(**settings)})
        return CliRunner().invoke(cli, [*words, "--settings", str(file)], input=stdin)
