"""The demo: drains three mailboxes with two dozen messages into a folder, and routes them with six routes."""

from __future__ import annotations

import asyncio
import json
import shlex
import shutil
import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.text import Text

from mailroom_cli.app_context import open_app
from mailroom_cli.commands.run_once import drain_once
from mailroom_cli.demo.folder import SETTINGS, prepare, write_settings
from mailroom_cli.demo.mail_servers import graph_server, imap_server
from mailroom_cli.demo.messages import (
    AUTOMATIC,
    BLOCKED,
    CONTRACTS,
    ENCRYPTED,
    MAX_BYTES,
    OFFICE,
    SPECIAL,
    SUPPORT,
)
from mailroom_cli.ids import ShortIds
from mailroom_cli.progress import ProgressReporter
from mailroom_cli.render import show_messages
from mailroom_cli.terminal import is_quiet, open_console
from shared.receipts import Receipt
from shared.storage.base import Records, Table
from shared.storage.folder.blobs import HIDDEN

PASSWORD = "demonstration"  # noqa: S105  of servers on the loopback address that run for a few seconds

MAILBOXES = ("support", "office", "contracts")

ROUTES = {
    "ROUTES__sales__ADDRESS": "sales@example.com",
    "ROUTES__billing__ADDRESS": "billing@example.com",
    "ROUTES__helpdesk__MAILBOX": "support",
    "ROUTES__partners__MAILBOX": "support",
    "ROUTES__partners__ADDRESS": "*",
    "ROUTES__partners__SENDERS": "*@partner.example",
    "ROUTES__contracts__MAILBOX": "contracts",
    "ROUTES__contracts__ADDRESS": "contracts@example.com",
    "ROUTES__office__MAILBOX": "office",
    "ROUTES__office__ADDRESS": "office@example.com",
}


def run_demo(into: Path, console: Console) -> int:
    """Drain and route the sample mail, and show the outcomes.

    Args:
        into: the folder; only files of an earlier demo are removed from it.
        console: output.

    Returns:
        The exit status.

    Raises:
        ConfigurationError: the folder contains other files, or is in use.
    """
    inbox = [*SUPPORT, *AUTOMATIC, *SPECIAL]
    prepare(into, [*inbox, *OFFICE, *CONTRACTS, *ENCRYPTED], MAILBOXES)
    with ExitStack() as stack:
        support = stack.enter_context(imap_server("support@example.com", PASSWORD, inbox))
        office = stack.enter_context(imap_server("ann@example.com\\office@example.com", PASSWORD, OFFICE))
        # Inside `into`, where the next demo removes it: a demo that is killed leaves no files elsewhere.
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="demo-", dir=into.resolve() / HIDDEN)))
        settings = folder / "local.settings.json"
        graph = stack.enter_context(graph_server("contracts@example.com", CONTRACTS, ENCRYPTED, folder))
        settings.write_text(json.dumps({"IsEncrypted": False, "Values": _settings(into, support, office) | graph}))
        total = len(inbox) + len(OFFICE) + len(CONTRACTS) + len(ENCRYPTED)
        servers = "two IMAP servers and a Microsoft Graph simulator"
        console.print(Text(f"Draining {total} messages from {servers} into {into}/"), soft_wrap=True)
        # The environment is ignored: it may name other mailboxes and another storage.
        progress = stack.enter_context(ProgressReporter(open_console(stderr=True)))
        app = stack.enter_context(open_app(settings, progress.drained, environment=False))
        summary = asyncio.run(drain_once(app, progress))
        progress.end()
        console.print()
        show_messages(app.storage, app.storage.records.scan(Table.RECEIPTS), console)
        example = _example(app.storage.records)
    console.print(f"\n{summary.sentence}", highlight=False, soft_wrap=True)
    for failure in summary.failures:
        console.print(f"failed: {failure}", highlight=False, soft_wrap=True)
    write_settings(into, settings_text())
    if not summary.failures and not is_quiet():
        _explain(into, example, console)
    return 1 if summary.failures else 0


def settings_text() -> str:
    """Return the settings file that a demo leaves: the mailboxes and routes, without the servers, which are gone."""
    values = {
        **_settings(Path(), support=1, office=1),
        "AzureWebJobsStorage": "folder:.",
        "SIGN_IN_AUTHORITY": "https://localhost:1",
        "GRAPH_ENDPOINT": "https://localhost:1/v1.0",
        "MAILBOXES__contracts__PROTOCOL": "graph",
        "MAILBOXES__contracts__ADDRESS": "contracts@example.com",
        "MAILBOXES__contracts__TENANT_ID": "11111111-2222-3333-4444-555555555555",
        "MAILBOXES__contracts__CLIENT_ID": "66666666-7777-8888-9999-000000000000",
        "MAILBOXES__contracts__CLIENT_SECRET": PASSWORD,
    }
    text = json.dumps({"IsEncrypted": False, "Values": values}, indent=2)
    return f"// Written by `mailroom demo`. The mail servers of these mailboxes ran only during the demo.\n{text}\n"


def _example(records: Records) -> str:
    """Return the short id of a message that no route took."""
    receipts = [Receipt.from_record(record) for record in records.scan(Table.RECEIPTS)]
    unhandled = [receipt for receipt in receipts if receipt.outcome == "unhandled"]
    example = min(unhandled, key=lambda receipt: (receipt.mailbox, len(receipt.server_key), receipt.server_key))
    return ShortIds.of_receipts(records, [example]).short(example.message)


def _explain(into: Path, example: str, console: Console) -> None:
    """Print where the mail is, and three commands to try on it."""
    option = f"--settings {shlex.quote(f'{into}/{SETTINGS}')}"
    lines = (
        "",
        f"{into}/ has the messages, a result for each recipient that a",
        "route names, and a record of each message without one. Two messages were skipped",
        "and stay in their mailboxes: one is too large, and Graph does not return",
        "encrypted mail. The mail servers have stopped. Try next:",
        "",
        *(f"  {_program()} {words} {option}" for words in ("status", "find --outcome unhandled", f"explain {example}")),
    )
    for line in lines:
        console.print(Text(line), soft_wrap=True)


def _program() -> str:
    """Return how this program was called, so that a command can be pasted into the same shell."""
    program = Path(sys.argv[0])
    if program.name == "mailroom":
        found = shutil.which("mailroom")
        return "mailroom" if found and Path(found).resolve() == program.resolve() else shlex.quote(str(program))
    return "mailroom" if program.name != "__main__.py" else f"{shlex.quote(sys.executable)} -m mailroom_cli"


def _settings(into: Path, support: int, office: int) -> dict[str, str]:
    values = {"AzureWebJobsStorage": f"folder:{into.resolve()}", "FUNCTIONS_WORKER_RUNTIME": "python"}
    for name, port in (("support", support), ("office", office)):
        values |= {
            f"MAILBOXES__{name}__PROTOCOL": "imap",
            f"MAILBOXES__{name}__HOST": "127.0.0.1",
            f"MAILBOXES__{name}__PORT": str(port),
            f"MAILBOXES__{name}__TLS": "none",
            f"MAILBOXES__{name}__PASSWORD": PASSWORD,
        }
    return values | {
        "MAILBOXES__support__ADDRESS": "support@example.com",
        "MAILBOXES__support__FALLBACK": "helpdesk",
        "MAILBOXES__support__BLOCKED_SENDERS": BLOCKED,
        "MAILBOXES__support__MAX_MESSAGE_BYTES": str(MAX_BYTES),
        "MAILBOXES__office__ADDRESS": "ann@example.com",
        "MAILBOXES__office__SHARED_MAILBOX": "office@example.com",
        **ROUTES,
    }
