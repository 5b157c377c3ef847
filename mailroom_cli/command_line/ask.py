"""Commands that only read: `status`, `find` and `explain`."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from mailroom_cli.command_line.options import DEFAULT_FILE, AsJson, Settings
from mailroom_cli.errors import plain_errors
from mailroom_cli.terminal import open_console, say, say_json, wide_console
from shared.errors import ConfigurationError


def status(settings: Settings = DEFAULT_FILE, *, as_json: AsJson = False) -> None:
    """Show whether all is well, and the state of each mailbox.

    Exit status 1 if a mailbox is unhealthy: failing, disabled, or with invalid settings.
    """
    from mailroom_cli.app_context import open_app  # noqa: PLC0415
    from mailroom_cli.commands.status import read_status, show  # noqa: PLC0415

    with plain_errors(), open_app(settings, create=False) as app:
        current = read_status(app)
    if as_json:
        say_json(current.to_json())
    else:
        show(current, open_console())
    raise typer.Exit(0 if current.is_healthy else 1)


def find(
    *,
    id_: Annotated[
        str, typer.Option("--id", metavar="HEX", help="Id of a message or key of an arrival; 8 digits are enough.")
    ] = "",
    message_id: Annotated[str, typer.Option(help="The Message-ID, with or without angle brackets.")] = "",
    sender: Annotated[str, typer.Option(metavar="ADDRESS", help="An address in From.")] = "",
    recipient: Annotated[
        str, typer.Option(metavar="ADDRESS", help="A recipient with a result, or an address in To or Cc.")
    ] = "",
    mailbox: Annotated[str, typer.Option(help="Only messages of this mailbox.")] = "",
    since: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="First day on which a message was stored, UTC.")
    ] = None,
    until: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Last day on which a message was stored, UTC.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Largest number of arrivals to show.")] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON for each arrival.")] = False,
    settings: Settings = DEFAULT_FILE,
) -> None:
    """Show where messages are stored and how they were routed.

    Exit status 1 if no message matches.
    """
    from mailroom_cli.app_context import open_app, require_store  # noqa: PLC0415
    from mailroom_cli.commands.find import find_message_histories, show, to_json_line  # noqa: PLC0415
    from shared.operations.search import ArrivalQuery, parse_id, parse_message_id, parse_recipient  # noqa: PLC0415

    with plain_errors():
        query = ArrivalQuery(
            id=parse_id(id_) if id_ else "",
            message_id=parse_message_id(message_id),
            sender=parse_recipient(sender) if sender else "",
            recipient=parse_recipient(recipient) if recipient else "",
            mailbox=mailbox.lower(),
            since=None if since is None else since.date(),
            until=None if until is None else until.date(),
        )
        if query == ArrivalQuery():
            raise ConfigurationError(
                "no search option is given: use --id, --message-id, --sender, --recipient, --mailbox, --since or "
                "--until"
            )
        with open_app(settings, create=False) as app:
            require_store(app.settings.mail_storage)
            histories, more = find_message_histories(app.storage, query, limit)
    if as_json:
        for history in histories:
            say(to_json_line(history))
    else:
        show(histories, wide_console())
    if more:
        say(f"more than {limit} arrivals match; use --limit to show more", err=True)
    if not histories:
        say("no message matches", err=True)
    raise typer.Exit(0 if histories else 1)


def explain(
    file: Annotated[Path, typer.Argument(metavar="FILE.eml", help="The raw message.")],
    mailbox: Annotated[
        str | None, typer.Option(help="Mailbox in which the message would arrive; default: each mailbox.")
    ] = None,
    folder: Annotated[str, typer.Option(help="Folder in which the message would arrive.")] = "INBOX",
    settings: Settings = DEFAULT_FILE,
) -> None:
    """Show how a message would be routed, and why; store nothing."""
    from mailroom_cli.app_context import missing_store_lines, open_app  # noqa: PLC0415
    from mailroom_cli.commands.explain import explain as explain_message  # noqa: PLC0415

    with plain_errors(), open_app(settings, create=False) as app:
        for line in missing_store_lines(app.settings.mail_storage):
            say(line, err=True)
        for line in explain_message(app, file, None if mailbox is None else mailbox.lower(), folder):
            say(line)
