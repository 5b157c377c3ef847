"""The command `mailroom`."""

from __future__ import annotations

import asyncio
import logging
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mailroom_cli.commands.settings.command import STARTED, settings_command
from mailroom_cli.demo.names import DEMONSTRATION
from mailroom_cli.errors import plain_errors
from mailroom_cli.log_format import UtcFormatter
from mailroom_cli.terminal import open_console, say
from shared.errors import ConfigurationError

if TYPE_CHECKING:
    from shared.bootstrap import App

cli = typer.Typer(
    help="Empties mailboxes into storage: every message once, sorted by route.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # they show local variables, and those may be secrets
)

Settings = Annotated[
    Path, typer.Option("--settings", metavar="FILE", help="App settings in the shape of local.settings.json.")
]


@cli.callback()
def main_options(
    verbose: Annotated[int, typer.Option("--verbose", "-v", count=True, help="Log what happens; twice: more.")] = 0,
) -> None:
    """Options before the command."""
    level = {0: logging.ERROR, 1: logging.INFO}.get(verbose, logging.DEBUG)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(UtcFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("mailroom").setLevel(level)


@cli.command()
def demo(
    into: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Where the sample mail goes: a new folder, or an earlier run's.")
    ] = Path(DEMONSTRATION),
) -> None:
    """Collect and route sample mail from embedded mail servers, into a folder; ends by itself."""
    from mailroom_cli.demo.run import run_demo  # noqa: PLC0415  the mail server's packages are wanted here alone
    from mailroom_cli.render import wide_console  # noqa: PLC0415

    with plain_errors():
        raise typer.Exit(run_demo(into, wide_console()))


@cli.command()
def run_once(settings: Settings = STARTED) -> None:
    """Every mailbox once, every queue until idle. Exit status 1, and a line for each mailbox, if one failed."""
    from mailroom_cli.app_context import open_app  # noqa: PLC0415
    from mailroom_cli.commands.run_once import drain_once  # noqa: PLC0415  the worker engine is wanted here alone
    from mailroom_cli.progress import ProgressReporter  # noqa: PLC0415

    with plain_errors(), ProgressReporter(open_console(stderr=True)) as told, open_app(settings, told.collected) as app:
        failures = asyncio.run(drain_once(app, told))
    for failure in failures:
        say(failure, err=True)
    raise typer.Exit(1 if failures else 0)


@cli.command()
def serve(
    settings: Settings = STARTED,
    port: Annotated[int, typer.Option(help="The port for HTTP functions, on loopback.")] = 7071,
) -> None:
    """The local host: clock, queues and HTTP, until stopped."""
    from mailroom_cli.app_context import open_app  # noqa: PLC0415
    from mailroom_cli.commands.serve import serve_app  # noqa: PLC0415

    with plain_errors(), open_app(settings) as app:
        logging.getLogger("mailroom").setLevel(min(logging.INFO, logging.getLogger("mailroom").level))
        serve_app(app, port)


@cli.command()
def check(
    mailbox: Annotated[str | None, typer.Argument(help="One mailbox; all without.")] = None,
    settings: Settings = STARTED,
    routes: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Check this file alone, as if it were config/routes.json.")
    ] = None,
) -> None:
    """Routes; connect, sign in, count, look at rights; change nothing."""
    from mailroom_cli.app_context import open_app  # noqa: PLC0415
    from mailroom_cli.commands.check import check as look  # noqa: PLC0415
    from mailroom_cli.commands.check import check_routes_file  # noqa: PLC0415
    from mailroom_cli.stores import storage_lines  # noqa: PLC0415

    with plain_errors(), open_app(settings, create=False) as app:
        mailbox = None if mailbox is None else _known(app, mailbox)
        for line in storage_lines(app.settings) if routes is None else ():
            say(f"ok    {line}")
        results = []
        for well, line in look(app, mailbox) if routes is None else check_routes_file(app, routes):
            say(("ok    " if well else "WRONG ") + line)
            results.append(well)
    raise typer.Exit(0 if all(results) else 1)


@cli.command()
def status(settings: Settings = STARTED) -> None:
    """Mailboxes, last looks, failures, routes, subscriptions, queues, and what waits."""
    from rich.text import Text  # noqa: PLC0415

    from mailroom_cli.app_context import open_app  # noqa: PLC0415
    from mailroom_cli.commands.check import check_routes  # noqa: PLC0415
    from mailroom_cli.render import show_mailboxes, show_queues, show_subscriptions, wide_console  # noqa: PLC0415
    from mailroom_cli.stores import storage_lines  # noqa: PLC0415

    with plain_errors(), open_app(settings, create=False) as app:
        console = wide_console()
        for line in storage_lines(app.settings):
            console.print(Text(line), soft_wrap=True)
        show_mailboxes(app, console)
        for well, line in check_routes(app):
            console.print(Text(line, style="" if well else "bold red"))
        show_subscriptions(app, console)
        show_queues(app.storage, console)


@cli.command()
def explain(
    file: Annotated[Path, typer.Argument(metavar="FILE.eml", help="The raw message.")],
    mailbox: Annotated[str | None, typer.Option(help="As if it arrived here; without: in each.")] = None,
    folder: Annotated[str, typer.Option(help="The folder that it would be collected from.")] = "INBOX",
    settings: Settings = STARTED,
) -> None:
    """Which recipients, which routes, and why; whether it would be a duplicate. Stores nothing."""
    from mailroom_cli.app_context import open_app  # noqa: PLC0415
    from mailroom_cli.commands.explain import explain as told  # noqa: PLC0415
    from mailroom_cli.stores import absent_lines  # noqa: PLC0415

    with plain_errors(), open_app(settings, create=False) as app:
        for line in absent_lines(app.settings.mail_storage):
            say(line, err=True)
        for line in told(app, file, None if mailbox is None else mailbox.lower(), folder):
            say(line)


@cli.command()
def replay(
    records: Annotated[
        list[str] | None, typer.Argument(metavar="RECORD…", help="Paths of records, or how they begin.")
    ] = None,
    *,
    since: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="The first day, UTC.")] = None,
    until: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="The last day, UTC.")] = None,
    kind: Annotated[str | None, typer.Option(help="Only unhandled, failed, duplicates or blocked.")] = None,
    mailbox: Annotated[str | None, typer.Option(help="Only of this one.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would become; change nothing.")] = False,
    reissue: Annotated[
        bool, typer.Option("--reissue", help="RECORD is a result: write a new one in its place.")
    ] = False,
    settings: Settings = STARTED,
) -> None:
    """Route again what is unhandled, failed, duplicate or blocked, by the routes of today."""
    from mailroom_cli.app_context import open_app  # noqa: PLC0415
    from mailroom_cli.commands.replay import ReplayOptions, show  # noqa: PLC0415
    from mailroom_cli.commands.replay import replay as ask  # noqa: PLC0415
    from mailroom_cli.progress import ProgressReporter  # noqa: PLC0415
    from mailroom_cli.render import wide_console  # noqa: PLC0415
    from mailroom_cli.stores import absent_lines  # noqa: PLC0415

    wanted = ReplayOptions(
        records=[record.strip().lstrip("/") for record in records or ()],
        since=None if since is None else since.date(),
        until=None if until is None else until.date(),
        kind=kind,
        mailbox=None if mailbox is None else mailbox.lower(),
        dry_run=dry_run,
        reissue=reissue,
    )
    with plain_errors(), open_app(settings, create=False) as app:
        wanted.check()
        for line in absent_lines(app.settings.mail_storage) if not wanted.records else ():
            say(line, err=True)
        with ProgressReporter(open_console(stderr=True)) as told:
            outcome = ask(app, wanted, told.records)
        show(outcome, wanted, wide_console())
    for failure in outcome.failures:
        say(failure, err=True)
    raise typer.Exit(1 if outcome.failures else 0)


@cli.command()
def find(
    *,
    id_: Annotated[
        str, typer.Option("--id", metavar="HEX", help="A message's id or an arrival's key; 8 digits do.")
    ] = "",
    message_id: Annotated[str, typer.Option(help="The Message-ID, with or without angle brackets.")] = "",
    sender: Annotated[str, typer.Option(metavar="ADDRESS", help="An address in From.")] = "",
    recipient: Annotated[str, typer.Option(metavar="ADDRESS", help="Whom it was for, or an address in To or Cc.")] = "",
    mailbox: Annotated[str, typer.Option(help="Only what came in here.")] = "",
    since: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="The first day on which it was stored, UTC.")
    ] = None,
    until: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="The last day, UTC.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many arrivals are told at most.")] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="A line of JSON for each arrival.")] = False,
    settings: Settings = STARTED,
) -> None:
    """Where a message is, and what became of it. Exit status 1 if there is none."""
    from mailroom_cli.app_context import open_app  # noqa: PLC0415
    from mailroom_cli.commands.find import as_line, find_message_histories, show  # noqa: PLC0415
    from mailroom_cli.render import wide_console  # noqa: PLC0415
    from mailroom_cli.stores import require_store  # noqa: PLC0415
    from shared.operations.search import ArrivalQuery, parse_id, parse_message_id, parse_recipient  # noqa: PLC0415

    with plain_errors():
        wanted = ArrivalQuery(
            id=parse_id(id_) if id_ else "",
            message_id=parse_message_id(message_id),
            sender=parse_recipient(sender) if sender else "",
            recipient=parse_recipient(recipient) if recipient else "",
            mailbox=mailbox.lower(),
            since=None if since is None else since.date(),
            until=None if until is None else until.date(),
        )
        if wanted == ArrivalQuery():
            raise ConfigurationError(
                "which message? by --id, --message-id, --sender, --recipient, --mailbox, --since, --until"
            )
        with open_app(settings, create=False) as app:
            require_store(app.settings.mail_storage)
            found, more = find_message_histories(app.storage, wanted, limit)
    if as_json:
        for story in found:
            say(as_line(story))
    else:
        show(found, wide_console())
    if more:
        say(f"there are more than {limit}; --limit tells more of them", err=True)
    if not found:
        say("nothing fits", err=True)
    raise typer.Exit(0 if found else 1)


@cli.command()
def forget(
    what: Annotated[str, typer.Argument(metavar="ID|ADDRESS", help="A message's id or an arrival's key, or a person.")],
    yes: Annotated[bool, typer.Option("--yes", help="Remove it; without, it is listed.")] = False,
    settings: Settings = STARTED,
) -> None:
    """Remove a message, or all mail from and for a person: bytes, results and records. Lists it, and stops there."""
    from mailroom_cli.app_context import open_app  # noqa: PLC0415
    from mailroom_cli.commands.forget import check_target, refusals, show  # noqa: PLC0415
    from mailroom_cli.commands.forget import forget as remove  # noqa: PLC0415
    from mailroom_cli.progress import ProgressReporter  # noqa: PLC0415
    from mailroom_cli.render import wide_console  # noqa: PLC0415
    from mailroom_cli.stores import require_store  # noqa: PLC0415

    with plain_errors(), open_app(settings, create=False) as app:
        check_target(what)
        require_store(app.settings.mail_storage, app.settings.app_storage)
        with ProgressReporter(open_console(stderr=True)) as told:
            outcome = remove(app, what, really=yes, progress=told.forgotten, waiting=told.held_up)
        show(outcome, wide_console(), really=yes)
    refused = refusals(outcome)
    for line in refused:
        say(line, err=True)
    raise typer.Exit(1 if refused else 0)


@cli.command()
def enable(
    mailbox: Annotated[str, typer.Argument(help="Its name in the settings.")],
    settings: Settings = STARTED,
    unreadable: Annotated[
        bool, typer.Option("--unreadable", help="Try again, too, what its server would not give out.")
    ] = False,
) -> None:
    """Try a mailbox again that was disabled, or that waits out a failure."""
    from mailroom_cli.app_context import open_app  # noqa: PLC0415
    from mailroom_cli.stores import require_store  # noqa: PLC0415

    with plain_errors(), open_app(settings, create=False) as app:
        mailbox = _known(app, mailbox)
        require_store(app.settings.mail_storage)
        app.health.enable(mailbox, unreadable=unreadable)
        too = ", and what could not be read is tried again" if unreadable else ""
        say(f"mailbox {mailbox} is looked at with the next tick of the clock{too}")


cli.command("settings")(settings_command)


def _known(app: App, mailbox: str) -> str:
    """A mailbox's name, as the settings have it.

    Raises:
        ConfigurationError: there is no such mailbox.
    """
    name = mailbox.lower()
    # A faulty one too: who looks after production from another machine has no mailbox's secret there.
    known = {*app.settings.mailboxes, *app.settings.faulty}
    if name not in known:
        raise ConfigurationError(f"there is no mailbox {name}; there are: {', '.join(sorted(known)) or 'none'}")
    return name


def main() -> None:
    """The entry point."""
    cli()
