"""Commands that change what is stored: `replay`, `forget` and `enable`."""

from __future__ import annotations

from typing import Annotated

import typer

from mailroom_cli.command_line.options import DEFAULT_FILE, AsJson, Settings, complete_mailbox, mailbox_name
from mailroom_cli.errors import plain_errors
from mailroom_cli.terminal import note, open_console, quantity, say, wide_console


def replay(
    records: Annotated[
        list[str] | None,
        typer.Argument(metavar="RECORD…", help="Ids of messages, paths of records, or the beginning of their paths."),
    ] = None,
    *,
    since: Annotated[
        str, typer.Option(metavar="DAY", help="First day: today, yesterday, 7d or a day such as 2026-11-24, UTC.")
    ] = "",
    until: Annotated[str, typer.Option(metavar="DAY", help="Last day, written likewise.")] = "",
    kind: Annotated[
        str | None, typer.Option(metavar="KIND", help="Only unhandled, failed, duplicates or blocked.")
    ] = None,
    mailbox: Annotated[str | None, typer.Option(metavar="NAME", help="Only messages of this mailbox.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the messages and their new outcomes; change nothing.")
    ] = False,
    limit: Annotated[
        int, typer.Option(metavar="N", min=1, help="Largest number of messages that --dry-run previews.")
    ] = 500,
    reissue: Annotated[
        bool,
        typer.Option("--reissue", help="RECORD is a result: write a new result that replaces it."),
    ] = False,
    as_json: AsJson = False,
    settings: Settings = DEFAULT_FILE,
) -> None:
    """Route unhandled, failed, duplicate or blocked messages again with the current routes."""
    from mailroom_cli.app_context import missing_store_lines, open_app  # noqa: PLC0415
    from mailroom_cli.commands.replay import ReplayOptions, show  # noqa: PLC0415
    from mailroom_cli.commands.replay import replay as request_replay  # noqa: PLC0415
    from mailroom_cli.progress import ProgressReporter  # noqa: PLC0415
    from shared.clock import utc_now  # noqa: PLC0415
    from shared.operations.search import parse_day  # noqa: PLC0415

    with plain_errors():
        now = utc_now()
        options = ReplayOptions(
            records=records or (),
            since=parse_day(since, now=now, option="--since") if since else None,
            until=parse_day(until, now=now, option="--until") if until else None,
            kind=kind,
            mailbox=None if mailbox is None else mailbox.lower(),
            dry_run=dry_run,
            limit=limit,
            reissue=reissue,
            as_json=as_json,
        )
        with open_app(settings, create=False) as app:
            options.check()
            for line in missing_store_lines(app.settings.mail_storage) if not options.records else ():
                note(line)
            with ProgressReporter(open_console(stderr=True)) as progress:
                result = request_replay(app, options, progress.replayed)
            if as_json:
                for message in result.messages:
                    say(message.to_json_line())
            else:
                show(app.storage.records, result, options, wide_console())
    if as_json and result.unread:
        say(f"not previewed: {quantity(result.unread, 'older record')}; use --limit to preview more", err=True)
    if as_json and result.resolved:
        say(f"not replayed: {quantity(result.resolved, 'record')} that a replay resolved before", err=True)
    for failure in result.failures:
        say(failure, err=True)
    raise typer.Exit(1 if result.failures else 0)


def forget(
    target: Annotated[
        str,
        typer.Argument(
            metavar="ID|ADDRESS",
            help="Id of a message, key of an arrival, or a person's address: all mail from or to it.",
        ),
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Erase; without it, only list what would be erased.")] = False,
    as_json: AsJson = False,
    settings: Settings = DEFAULT_FILE,
) -> None:
    """Erase a message, or all mail from and to a person: raw messages, results and records.

    Without --yes, list what would be erased and change nothing.
    """
    from mailroom_cli.app_context import open_app, require_store  # noqa: PLC0415
    from mailroom_cli.commands.forget import check_target, refusals, show, to_json_line  # noqa: PLC0415
    from mailroom_cli.commands.forget import forget as erase  # noqa: PLC0415
    from mailroom_cli.progress import ProgressReporter  # noqa: PLC0415
    from mailroom_cli.telemetry import exported_telemetry  # noqa: PLC0415

    with plain_errors(), open_app(settings, create=False) as app:
        check_target(target)
        require_store(app.settings.mail_storage, app.settings.app_storage)
        with (
            exported_telemetry(app.settings.telemetry if yes else None),
            ProgressReporter(open_console(stderr=True)) as progress,
        ):
            result = erase(app, target, really=yes, progress=progress.erased, waiting=progress.waiting_for_drain)
        if as_json:
            say(to_json_line(result, really=yes))
        else:
            show(app.storage.records, result, wide_console(), really=yes)
        refused = refusals(app.storage.records, result)
    for line in refused:
        say(line, err=True)
    raise typer.Exit(1 if refused else 0)


def enable(
    mailbox: Annotated[
        str, typer.Argument(help="Name of the mailbox in the settings.", autocompletion=complete_mailbox)
    ],
    settings: Settings = DEFAULT_FILE,
    unreadable: Annotated[
        bool, typer.Option("--unreadable", help="Also retry messages that the server could not return.")
    ] = False,
) -> None:
    """Enable a disabled mailbox, or end the backoff of a failing one."""
    from mailroom_cli.app_context import open_app, require_store  # noqa: PLC0415

    with plain_errors(), open_app(settings, create=False) as app:
        mailbox = mailbox_name(app, mailbox)
        require_store(app.settings.mail_storage)
        app.health.enable(mailbox, unreadable=unreadable)
        retry = " and retries its unreadable messages" if unreadable else ""
        say(f"mailbox {mailbox} is enabled: the next run of the poll timer polls it{retry}")
