"""Commands that copy all records: `export` and `import`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mailroom_cli.command_line.options import DEFAULT_FILE, Settings
from mailroom_cli.errors import plain_errors
from mailroom_cli.terminal import open_console, say


def export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to create, such as records.gz.")],
    settings: Settings = DEFAULT_FILE,
) -> None:
    """Export all records (receipts, claims, health of mailboxes) to a file."""
    from mailroom_cli.app_context import open_app, require_store  # noqa: PLC0415
    from mailroom_cli.progress import ProgressReporter  # noqa: PLC0415
    from shared.operations.backup import export_records  # noqa: PLC0415

    with plain_errors(), open_app(settings, create=False) as app:
        require_store(app.settings.mail_storage)
        with ProgressReporter(open_console(stderr=True)) as progress:
            count = export_records(app.storage.records, file, progress.copied)
        say(f"exported {count} records to {file}")


def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file that `mailroom export` wrote.")],
    settings: Settings = DEFAULT_FILE,
) -> None:
    """Import exported records into tables that were lost; existing records are kept.

    Stop the app first.
    """
    from mailroom_cli.app_context import open_app  # noqa: PLC0415
    from mailroom_cli.progress import ProgressReporter  # noqa: PLC0415
    from shared.operations.backup import import_records  # noqa: PLC0415

    with plain_errors(), open_app(settings) as app:
        with ProgressReporter(open_console(stderr=True)) as progress:
            result = import_records(app.storage.records, file, progress.copied)
        say(f"imported {result.created} records; {result.existing} existed already and were kept")
        if result.to_be_routed:
            say(f"{result.to_be_routed} messages wait to be routed: the app routes them, or `mailroom run-once`")
