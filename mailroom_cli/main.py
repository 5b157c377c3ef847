"""The `mailroom` command."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Final

import typer

from mailroom_cli.command_line import ask, backup, repair, run, set_up
from mailroom_cli.commands.settings.command import settings_command
from mailroom_cli.logging_setup import TEXT_FORMAT, configure_logging

cli = typer.Typer(
    help="Drain mailboxes into storage: each message exactly once, routed to results.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # they show local variables, which may be secrets
)

GROUPS: Final[dict[str, dict[str, Callable[..., None]]]] = {
    "Set up": {"settings": settings_command, "check": set_up.check},
    "Run": {"demo": run.demo, "run-once": run.run_once, "serve": run.serve},
    "Ask": {"status": ask.status, "find": ask.find, "explain": ask.explain},
    "Repair": {
        "replay": repair.replay,
        "forget": repair.forget,
        "enable": repair.enable,
    },
    "Back up": {"export": backup.export, "import": backup.import_},
}
"""The commands, by the heading under which `mailroom --help` lists them."""

for _heading, _commands in GROUPS.items():
    for _name, _command in _commands.items():
        cli.command(_name, rich_help_panel=_heading)(_command)


@cli.callback()
def main_options(
    verbose: Annotated[
        int, typer.Option("--verbose", "-v", count=True, help="Write log lines to standard error; -vv: debug level.")
    ] = 0,
) -> None:
    """Set up logging for every command."""
    configure_logging(verbose, quiet=False, log_format=TEXT_FORMAT)


def main() -> None:
    """Run the command."""
    cli()
