"""Commands that prepare an installation: `settings` and `check`."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Annotated

import typer

from mailroom_cli.command_line.global_options import MailroomCommand, MailroomGroup, examples
from mailroom_cli.command_line.options import DEFAULT_FILE, AsJson, Settings, complete_mailbox, mailbox_name
from mailroom_cli.commands.settings.command import add_command, settings_command
from mailroom_cli.errors import plain_errors
from mailroom_cli.terminal import is_quiet, say, say_json

_MARKS = {"ok": "ok   ", "note": "note ", "wrong": "WRONG"}
"""How a line begins, by the result of the check."""

settings_cli = typer.Typer(cls=MailroomGroup, invoke_without_command=True, rich_markup_mode=None)
settings_cli.callback(
    epilog=examples(
        "mailroom settings --preset gmail-imap --output local.settings.json",
        "mailroom settings --check",
        "mailroom settings add support --preset gmail-imap",
    )
)(settings_command)
settings_cli.command(
    "add",
    cls=MailroomCommand,
    epilog=examples(
        "mailroom settings add support",
        "mailroom settings add office --preset office365-graph",
        "pass show mail/orders | mailroom settings add orders --protocol pop3 \\",
        "    --host pop.example.com --address orders@example.com --password-stdin",
    ),
)(add_command)


def check(
    mailbox: Annotated[
        str | None, typer.Argument(help="Name of one mailbox; default: all mailboxes.", autocompletion=complete_mailbox)
    ] = None,
    settings: Settings = DEFAULT_FILE,
    routes: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Check only this routes file, as if it were config/routes.json.")
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Check the routes, and sign in to the mailboxes; change nothing.

    Exit status 1 if a check failed.
    """
    from mailroom_cli.app_context import open_app, storage_lines  # noqa: PLC0415
    from mailroom_cli.commands.check import Finding, check_routes_file  # noqa: PLC0415
    from mailroom_cli.commands.check import check as check_all  # noqa: PLC0415

    findings = []
    with plain_errors(), open_app(settings, create=False) as app:
        mailbox = None if mailbox is None else mailbox_name(app, mailbox)
        stored = [Finding(True, line) for line in storage_lines(app.settings)] if routes is None else []
        # Each line is printed as soon as it is known: to connect may take long.
        checks = check_all(app, mailbox) if routes is None else check_routes_file(app, routes)
        for finding in chain(stored, checks):
            findings.append(finding)
            if not as_json and not (finding.is_note and is_quiet()):
                say(f"{_MARKS[finding.result]} {finding.text}")
    passed = all(finding.passed for finding in findings)
    if as_json:
        say_json({"passed": passed, "findings": [finding.to_json() for finding in findings]})
    raise typer.Exit(0 if passed else 1)
