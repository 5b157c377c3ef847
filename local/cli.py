"""The command `mailroom`."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from shared.errors import MailroomError, SettingsWrong

cli = typer.Typer(
    help="Empties mailboxes into storage: every message once, sorted by route.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # they show local variables, and those may be secrets
)

Settings = Annotated[
    Path, typer.Option("--settings", metavar="FILE", help="App settings in the shape of local.settings.json.")
]
DEFAULT = Path("local.settings.json")


@contextmanager
def told_plainly() -> Iterator[None]:
    """End with a line a fault instead of a traceback."""
    try:
        yield
    except SettingsWrong as error:
        for fault in error.faults:
            typer.echo(fault, err=True)
        raise typer.Exit(2) from None
    except MailroomError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None


@cli.callback()
def main_options(
    verbose: Annotated[int, typer.Option("--verbose", "-v", count=True, help="Log what happens; twice: more.")] = 0,
) -> None:
    """Options before the command."""
    level = {0: logging.ERROR, 1: logging.INFO}.get(verbose, logging.DEBUG)
    logging.basicConfig(
        level=logging.WARNING, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("mailroom").setLevel(level)


@cli.command()
def demo(into: Annotated[Path, typer.Option(metavar="FOLDER", help="Where the mail goes.")] = Path("mail")) -> None:
    """The main job on an embedded mail server with sample mail, into a folder; ends by itself."""
    from local.demo.run import run_demo  # noqa: PLC0415  the mail server's packages are wanted here alone
    from local.tables import wide_console  # noqa: PLC0415

    with told_plainly():
        raise typer.Exit(run_demo(into, wide_console()))


@cli.command()
def once(settings: Settings = DEFAULT) -> None:
    """Every mailbox once, every queue until idle. Exit status 1, and a line for each mailbox, if one failed."""
    from local.once import drain_once  # noqa: PLC0415  the worker engine is wanted here alone
    from local.progress import Told  # noqa: PLC0415
    from local.session import open_app  # noqa: PLC0415

    with told_plainly(), Told(Console(stderr=True)) as told, open_app(settings, told.collected) as app:
        failures = asyncio.run(drain_once(app, told))
    for failure in failures:
        typer.echo(failure, err=True)
    raise typer.Exit(1 if failures else 0)


@cli.command()
def serve(
    settings: Settings = DEFAULT,
    port: Annotated[int, typer.Option(help="The port for HTTP functions, on loopback.")] = 7071,
) -> None:
    """The local host: clock, queues and HTTP, until stopped."""
    from local.serving import serve_app  # noqa: PLC0415
    from local.session import open_app  # noqa: PLC0415

    with told_plainly(), open_app(settings) as app:
        logging.getLogger("mailroom").setLevel(min(logging.INFO, logging.getLogger("mailroom").level))
        serve_app(app, port)


@cli.command()
def check(
    mailbox: Annotated[str | None, typer.Argument(help="One mailbox; all without.")] = None,
    settings: Settings = DEFAULT,
) -> None:
    """Connect, sign in, count, look at rights; change nothing."""
    from local.checking import check as look  # noqa: PLC0415
    from local.session import open_app  # noqa: PLC0415

    with told_plainly(), open_app(settings) as app:
        known = {*app.settings.mailboxes, *app.settings.faulty}
        mailbox = None if mailbox is None else mailbox.lower()
        if mailbox is not None and mailbox not in known:
            raise SettingsWrong(f"there is no mailbox {mailbox}; there are: {', '.join(sorted(known)) or 'none'}")
        results = []
        for well, line in look(app, mailbox):
            typer.echo(("ok    " if well else "WRONG ") + line)
            results.append(well)
    raise typer.Exit(0 if all(results) else 1)


@cli.command()
def status(settings: Settings = DEFAULT) -> None:
    """Mailboxes, last looks, failures, subscriptions, queues, and what waits."""
    from local.session import open_app  # noqa: PLC0415
    from local.tables import show_mailboxes, show_queues, show_subscriptions, wide_console  # noqa: PLC0415

    with told_plainly(), open_app(settings) as app:
        console = wide_console()
        show_mailboxes(app, console)
        show_subscriptions(app, console)
        show_queues(app.stores, console)


@cli.command()
def explain(
    file: Annotated[Path, typer.Argument(metavar="FILE.eml", help="The raw message.")],
    mailbox: Annotated[str | None, typer.Option(help="As if it arrived here; without: in each.")] = None,
    folder: Annotated[str, typer.Option(help="The folder that it would be collected from.")] = "INBOX",
    settings: Settings = DEFAULT,
) -> None:
    """Which recipients, which routes, and why; whether it would be a duplicate. Stores nothing."""
    from local.explaining import explain as told  # noqa: PLC0415
    from local.session import open_app  # noqa: PLC0415

    with told_plainly(), open_app(settings) as app:
        for line in told(app, file, None if mailbox is None else mailbox.lower(), folder):
            typer.echo(line)


@cli.command()
def enable(
    mailbox: Annotated[str, typer.Argument(help="Its name in the settings.")],
    settings: Settings = DEFAULT,
    unreadable: Annotated[
        bool, typer.Option("--unreadable", help="Try again, too, what its server would not give out.")
    ] = False,
) -> None:
    """Try a mailbox again that was disabled, or that waits out a failure."""
    from local.session import open_app  # noqa: PLC0415

    with told_plainly(), open_app(settings) as app:
        mailbox = mailbox.lower()
        if mailbox not in app.settings.mailboxes:
            raise SettingsWrong(f"there is no usable mailbox {mailbox}; there are: {', '.join(app.settings.mailboxes)}")
        app.health.enable(mailbox, unreadable=unreadable)
        too = ", and what could not be read is tried again" if unreadable else ""
        typer.echo(f"mailbox {mailbox} is looked at with the next tick of the clock{too}")


def main() -> None:
    """The entry point."""
    cli()
