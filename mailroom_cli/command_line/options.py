"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mailroom_cli.settings_file import DEFAULT_FILE, SETTINGS_VARIABLE
from shared.errors import ConfigurationError

if TYPE_CHECKING:
    from shared.bootstrap import App

__all__ = ["DEFAULT_FILE", "AsJson", "Settings", "complete_mailbox", "mailbox_name"]

Settings = Annotated[
    Path,
    typer.Option(
        "--settings",
        metavar="FILE",
        envvar=SETTINGS_VARIABLE,
        help="App settings, in the format of local.settings.json.",
    ),
]

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


def complete_mailbox(context: typer.Context, incomplete: str) -> list[str]:
    """Return the mailboxes of the settings file whose names begin so; none if the file cannot be read."""
    from mailroom_cli.settings_file import load_settings_file  # noqa: PLC0415

    try:
        names = load_settings_file(Path(context.params.get("settings") or DEFAULT_FILE))
    except ConfigurationError:
        return []
    places = [name.lower().split("__") for name in names]
    mailboxes = {place[1] for place in places if len(place) == 3 and place[0] == "mailboxes"}  # noqa: PLR2004
    return sorted(name for name in mailboxes if name.startswith(incomplete.lower()))


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
