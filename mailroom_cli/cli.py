"""The commands of `mailroom`, in groups, with the examples of their help."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import Annotated, Final

import typer

from mailroom_cli.command_line import ask, backup, repair, run, set_up
from mailroom_cli.command_line.global_options import CONTEXT, MailroomCommand, MailroomGroup, examples
from mailroom_cli.terminal import say

cli = typer.Typer(
    cls=MailroomGroup,
    help="Drain mailboxes into storage: each message exactly once, routed to results.",
    no_args_is_help=True,
    context_settings=CONTEXT,
    rich_markup_mode=None,  # plain text: the same on a terminal and in a pipe
    pretty_exceptions_enable=False,  # they show local variables, which may be secrets
    epilog=examples("mailroom demo", "mailroom settings add support", "mailroom check", "mailroom run-once"),
)

GROUPS: Final[dict[str, dict[str, Callable[..., None]]]] = {
    "Set up": {"check": set_up.check},
    "Run": {"demo": run.demo, "run-once": run.run_once, "serve": run.serve},
    "Ask": {"status": ask.status, "find": ask.find, "explain": ask.explain},
    "Repair": {
        "replay": repair.replay,
        "forget": repair.forget,
        "enable": repair.enable,
    },
    "Back up": {"export": backup.export, "import": backup.import_},
}
"""The commands, by the heading under which `mailroom --help` lists them. `settings` has commands of its own."""

EXAMPLES: Final[dict[str, tuple[str, ...]]] = {
    "check": ("mailroom check", "mailroom check support", "mailroom check --routes routes.json"),
    "demo": ("mailroom demo", "mailroom demo --into /tmp/demo"),
    "run-once": ("mailroom run-once", "mailroom run-once --json --quiet"),
    "serve": ("mailroom serve", "mailroom serve --port 8080 -v"),
    "status": ("mailroom status", "mailroom status --json"),
    "find": (
        "mailroom find --sender ann@customer.example --since yesterday",
        "mailroom find --outcome unhandled --since 7d",
    ),
    "explain": ("mailroom explain 26fb03a6", "mailroom explain message.eml --mailbox support"),
    "replay": ("mailroom replay 26fb03a6 --dry-run", "mailroom replay --since 7d --kind unhandled"),
    "forget": ("mailroom forget 26fb03a6", "mailroom forget ann@customer.example --yes"),
    "enable": ("mailroom enable support", "mailroom enable support --unreadable"),
    "export": ("mailroom export records-2026-11-29.gz",),
    "import": ("mailroom import records-2026-11-29.gz",),
}
"""What the help of a command shows at its end."""

cli.add_typer(set_up.settings_cli, name="settings", rich_help_panel="Set up")

for _heading, _commands in GROUPS.items():
    for _name, _command in _commands.items():
        cli.command(_name, cls=MailroomCommand, rich_help_panel=_heading, epilog=examples(*EXAMPLES[_name]))(_command)


def _print_version(value: bool) -> None:
    if value:
        say(f"mailroom {version('mailroom')}")
        raise typer.Exit


@cli.callback()
def main_options(
    *,
    show_version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and exit.")
    ] = False,
) -> None:
    """Take the options that are not a command's."""
