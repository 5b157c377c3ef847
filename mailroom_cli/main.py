"""The `mailroom` command: options and arguments of every subcommand."""

from __future__ import annotations

import asyncio
import logging
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mailroom_cli.commands.settings.command import DEFAULT_FILE, settings_command
from mailroom_cli.demo import DEMO_FOLDER
from mailroom_cli.errors import plain_errors
from mailroom_cli.terminal import UtcFormatter, open_console, say, wide_console
from shared.errors import ConfigurationError

if TYPE_CHECKING:
    from shared.bootstrap import App

# Each command imports its modules itself: importing all of them takes longer than most commands run.

cli = typer.Typer(
    help="Drain mailboxes into storage: each message exactly once, routed to results.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # they show local variables, which may be secrets
)

Settings = Annotated[
    Path, typer.Option("--settings", metavar="FILE", help="App settings in the format of local.settings.json.")
]


@cli.callback()
def main_options(
    verbose: Annotated[
        int, typer.Option("--verbose", "-v", count=True, help="Write log lines to standard error; -vv: debug level.")
    ] = 0,
) -> None:
    """Set up logging for every command."""
    level = {0: logging.ERROR, 1: logging.INFO}.get(verbose, logging.DEBUG)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(UtcFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("mailroom").setLevel(level)


@cli.command()
def demo(
    into: Annotated[
        Path,
        typer.Option(metavar="FOLDER", help="Folder for the sample mail: a new one, or the folder of an earlier demo."),
    ] = Path(DEMO_FOLDER),
) -> None:
    """Drain sample mailboxes on embedded mail servers into a folder, and route the mail."""
    from mailroom_cli.demo.run import run_demo  # noqa: PLC0415

    with plain_errors():
        raise typer.Exit(run_demo(into, wide_console()))


@cli.command()
def run_once(settings: Settings = DEFAULT_FILE) -> None:
    """Drain every mailbox and route every stored message, then exit.

    Exit status 1 if a mailbox or a message failed; standard error has a line for each failure.
    """
    from mailroom_cli.app_context import open_app  # noqa: PLC0415
    from mailroom_cli.commands.run_once import drain_once  # noqa: PLC0415
    from mailroom_cli.progress import ProgressReporter  # noqa: PLC0415

    with (
        plain_errors(),
        ProgressReporter(open_console(stderr=True)) as progress,
        open_app(settings, progress.drained) as app,
    ):
        failures = asyncio.run(drain_once(app, progress))
    for failure in failures:
        say(failure, err=True)
    raise typer.Exit(1 if failures else 0)


@cli.command()
def serve(
    settings: Settings = DEFAULT_FILE,
    port: Annotated[int, typer.Option(help="Port for HTTP functions on the loopback address.")] = 7071,
) -> None:
    """Run the functions on this machine (timers, queues and HTTP) until Ctrl-C."""
    from mailroom_cli.app_context import open_app  # noqa: PLC0415
    from mailroom_cli.commands.serve import serve_app  # noqa: PLC0415

    with plain_errors(), open_app(settings) as app:
        logging.getLogger("mailroom").setLevel(min(logging.INFO, logging.getLogger("mailroom").level))
        serve_app(app, port)


@cli.command()
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
        mailbox = None if mailbox is None else _mailbox_name(app, mailbox)
        for line in storage_lines(app.settings) if routes is None else ():
            say(f"ok    {line}")
        results = []
        for passed, line in check_all(app, mailbox) if routes is None else check_routes_file(app, routes):
            say(("ok    " if passed else "WRONG ") + line)
            results.append(passed)
    raise typer.Exit(0 if all(results) else 1)


@cli.command()
def status(settings: Settings = DEFAULT_FILE) -> None:
    """Show storage, mailboxes, routes, Graph subscriptions and queues."""
    from rich.text import Text  # noqa: PLC0415

    from mailroom_cli.app_context import open_app, storage_lines  # noqa: PLC0415
    from mailroom_cli.commands.check import check_routes  # noqa: PLC0415
    from mailroom_cli.render import show_mailboxes, show_queues, show_subscriptions  # noqa: PLC0415

    with plain_errors(), open_app(settings, create=False) as app:
        console = wide_console()
        for line in storage_lines(app.settings):
            console.print(Text(line), soft_wrap=True)
        show_mailboxes(app, console)
        for passed, line in check_routes(app):
            console.print(Text(line, style="" if passed else "bold red"))
        show_subscriptions(app, console)
        show_queues(app.storage, console)


@cli.command()
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


@cli.command()
def replay(
    records: Annotated[
        list[str] | None, typer.Argument(metavar="RECORD…", help="Paths of records, or the beginning of their paths.")
    ] = None,
    *,
    since: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="First day, UTC.")] = None,
    until: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Last day, UTC.")] = None,
    kind: Annotated[str | None, typer.Option(help="Only unhandled, failed, duplicates or blocked.")] = None,
    mailbox: Annotated[str | None, typer.Option(help="Only messages of this mailbox.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the outcomes; change nothing.")] = False,
    reissue: Annotated[
        bool, typer.Option("--reissue", help="RECORD is a result: write a new result that replaces it.")
    ] = False,
    settings: Settings = DEFAULT_FILE,
) -> None:
    """Route unhandled, failed, duplicate or blocked messages again with the current routes."""
    from mailroom_cli.app_context import missing_store_lines, open_app  # noqa: PLC0415
    from mailroom_cli.commands.replay import ReplayOptions, show  # noqa: PLC0415
    from mailroom_cli.commands.replay import replay as request_replay  # noqa: PLC0415
    from mailroom_cli.progress import ProgressReporter  # noqa: PLC0415

    options = ReplayOptions(
        records=[record.strip().lstrip("/") for record in records or ()],
        since=None if since is None else since.date(),
        until=None if until is None else until.date(),
        kind=kind,
        mailbox=None if mailbox is None else mailbox.lower(),
        dry_run=dry_run,
        reissue=reissue,
    )
    with plain_errors(), open_app(settings, create=False) as app:
        options.check()
        for line in missing_store_lines(app.settings.mail_storage) if not options.records else ():
            say(line, err=True)
        with ProgressReporter(open_console(stderr=True)) as progress:
            result = request_replay(app, options, progress.replayed)
        show(result, options, wide_console())
    for failure in result.failures:
        say(failure, err=True)
    raise typer.Exit(1 if result.failures else 0)


@cli.command()
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


@cli.command()
def forget(
    target: Annotated[
        str,
        typer.Argument(
            metavar="ID|ADDRESS",
            help="Id of a message, key of an arrival, or a person's address: all mail from or to it.",
        ),
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Erase; without it, only list what would be erased.")] = False,
    settings: Settings = DEFAULT_FILE,
) -> None:
    """Erase a message, or all mail from and to a person: raw messages, results and records.

    Without --yes, list what would be erased and change nothing.
    """
    from mailroom_cli.app_context import open_app, require_store  # noqa: PLC0415
    from mailroom_cli.commands.forget import check_target, refusals, show  # noqa: PLC0415
    from mailroom_cli.commands.forget import forget as erase  # noqa: PLC0415
    from mailroom_cli.progress import ProgressReporter  # noqa: PLC0415

    with plain_errors(), open_app(settings, create=False) as app:
        check_target(target)
        require_store(app.settings.mail_storage, app.settings.app_storage)
        with ProgressReporter(open_console(stderr=True)) as progress:
            result = erase(app, target, really=yes, progress=progress.erased, waiting=progress.waiting_for_drain)
        show(result, wide_console(), really=yes)
    refused = refusals(result)
    for line in refused:
        say(line, err=True)
    raise typer.Exit(1 if refused else 0)


@cli.command()
def enable(
    mailbox: Annotated[str, typer.Argument(help="Name of the mailbox in the settings.")],
    settings: Settings = DEFAULT_FILE,
    unreadable: Annotated[
        bool, typer.Option("--unreadable", help="Also retry messages that the server could not return.")
    ] = False,
) -> None:
    """Enable a disabled mailbox, or end the backoff of a failing one."""
    from mailroom_cli.app_context import open_app, require_store  # noqa: PLC0415

    with plain_errors(), open_app(settings, create=False) as app:
        mailbox = _mailbox_name(app, mailbox)
        require_store(app.settings.mail_storage)
        app.health.enable(mailbox, unreadable=unreadable)
        retry = " and retries its unreadable messages" if unreadable else ""
        say(f"mailbox {mailbox} is enabled: the next run of the poll timer polls it{retry}")


cli.command("settings")(settings_command)


def _mailbox_name(app: App, mailbox: str) -> str:
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


def main() -> None:
    """Run the command."""
    cli()
