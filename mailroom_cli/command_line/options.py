"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mailroom_cli.commands.settings.command import DEFAULT_FILE
from shared.errors import ConfigurationError

if TYPE_CHECKING:
    from shared.bootstrap import App

__all__ = ["DEFAULT_FILE", "AsJson", "Settings", "mailbox_name"]

Settings = Annotated[
    Path, typer.Option("--settings", metavar="FILE", help="App settings in the format of local.settings.json.")
]

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


def mailbox_name(app: App, mailbox: str) -> str:
    """Return a mailbox's name as the settings write it.

    Raises:
        ConfigurationError: the settings have no such mailbox.
    """
    name = mailbox.lower()
    # Mailboxes with configuration errors count: an operator's machine may not have their secrets.
    names = {*app.settings.mailboxes, *app.settings.mailbox_errors}
    if name not in names:
        raise ConfigurationError(
            f"the settings have no mailbox {name}; their mailboxes are: {', '.join(sorted(names)) or 'none'}"
        )
    return name
