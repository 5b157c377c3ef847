"""Commands that collect mail: `demo`, `run-once` and `serve`."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Annotated

import typer

from mailroom_cli.command_line.options import DEFAULT_FILE, AsJson, Settings
from mailroom_cli.demo import DEMO_FOLDER
from mailroom_cli.errors import plain_errors
from mailroom_cli.terminal import open_console, say, say_json


def demo(
    into: Annotated[
        Path,
        typer.Option(metavar="FOLDER", help="Folder for the sample mail: a new one, or the folder of an earlier demo."),
    ] = Path(DEMO_FOLDER),
) -> None:
    """Drain sample mailboxes on embedded mail servers into a folder, and route the mail."""
    from mailroom_cli.demo.run import run_demo  # noqa: PLC0415

    with plain_errors():
        raise typer.Exit(run_demo(into, open_console()))


def run_once(settings: Settings = DEFAULT_FILE, *, as_json: AsJson = False) -> None:
    """Drain every mailbox and route every stored message, then exit.

    Exit status 1 if a mailbox or a message failed; standard error has a line for each failure.
    """
    from mailroom_cli.app_context import open_app  # noqa: PLC0415
    from mailroom_cli.commands.run_once import drain_once  # noqa: PLC0415
    from mailroom_cli.progress import ProgressReporter  # noqa: PLC0415
    from mailroom_cli.telemetry import exported_telemetry  # noqa: PLC0415
    from mailroom_cli.worker import worker_pool  # noqa: PLC0415

    with (
        plain_errors(),
        ProgressReporter(open_console(stderr=True)) as progress,
        open_app(settings, progress.drained) as app,
        exported_telemetry(app.settings.telemetry),
    ):
        summary = asyncio.run(drain_once(app, progress, pool=worker_pool(app, settings)))
    if as_json:
        say_json(summary.to_json())
    else:
        say(summary.sentence)
    for failure in summary.failures:
        say(failure, err=True)
    raise typer.Exit(1 if summary.failures else 0)


def serve(
    settings: Settings = DEFAULT_FILE,
    port: Annotated[int, typer.Option(help="Port for HTTP functions on the loopback address.")] = 7071,
    *,
    fast_hops: Annotated[
        bool,
        typer.Option(
            "--fast-hops", help="Start the next function as soon as a message is put for it; for demonstrations."
        ),
    ] = False,
    stay_up: Annotated[
        bool, typer.Option("--stay-up", help="Keep retrying when queue storage fails, instead of ending.")
    ] = False,
) -> None:
    """Run the functions on this machine (timers, queues and HTTP) until Ctrl-C.

    Like the Functions host, it ends if queue storage fails, with exit status 1.
    """
    from mailroom_cli.app_context import open_app  # noqa: PLC0415
    from mailroom_cli.commands.serve import serve_app  # noqa: PLC0415
    from mailroom_cli.worker import worker_pool  # noqa: PLC0415

    with plain_errors(), open_app(settings) as app:
        logging.getLogger("mailroom").setLevel(min(logging.INFO, logging.getLogger("mailroom").level))
        serve_app(app, port, fast_hops=fast_hops, stay_up=stay_up, pool=worker_pool(app, settings))
