"""Commands that prepare an installation: `check`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mailroom_cli.command_line.options import DEFAULT_FILE, Settings, mailbox_name
from mailroom_cli.errors import plain_errors
from mailroom_cli.terminal import say


def check(
    mailbox: Annotated[str | None, typer.Argument(help="Name of one mailbox; default: all mailboxes.")] = None,
    settings: Settings = DEFAULT_FILE,
    routes: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Check only this routes file, as if it were config/routes.json.")
    ] = None,
) -> None:
    """Check the routes, and sign in to the mailboxes; change nothing.

    Exit status 1 if a check failed.
    """
    from mailroom_cli.app_context import open_app, storage_lines  # noqa: PLC0415
    from mailroom_cli.commands.check import check as check_all  # noqa: PLC0415
    from mailroom_cli.commands.check import check_routes_file  # noqa: PLC0415

    with plain_errors(), open_app(settings, create=False) as app:
        mailbox = None if mailbox is None else mailbox_name(app, mailbox)
        for line in storage_lines(app.settings) if routes is None else ():
            say(f"ok    {line}")
        results = []
        for passed, line in check_all(app, mailbox) if routes is None else check_routes_file(app, routes):
            say(("ok    " if passed else "WRONG ") + line)
            results.append(passed)
    raise typer.Exit(0 if all(results) else 1)
