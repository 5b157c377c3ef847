"""The demo: drains three mailboxes with two dozen messages into a folder, and routes them with six routes."""

from __future__ import annotations

import asyncio
import json
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from mailroom_cli.app_context import open_app
from mailroom_cli.commands.run_once import drain_once
from mailroom_cli.demo.folder import prepare
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
from mailroom_cli.progress import ProgressReporter
from mailroom_cli.render import show_messages
from shared.storage.base import Table
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
        console.print(
            f"Draining two mailboxes on IMAP servers ({len(inbox)} and {len(OFFICE)} messages) and one on a Microsoft "
            f"Graph simulator ({len(CONTRACTS) + len(ENCRYPTED)} messages) into {into}/"
        )
        # The environment is ignored: it may name other mailboxes and another storage.
        progress = stack.enter_context(ProgressReporter(console))
        app = stack.enter_context(open_app(settings, progress.drained, environment=False))
        failures = asyncio.run(drain_once(app, progress))
        progress.end()
        show_messages(app.storage, app.storage.records.scan(Table.RECEIPTS), console)
    for failure in failures:
        console.print(f"failed: {failure}")
    if not failures:
        console.print(
            f"{into}/messages has every message that was stored. Their results and records are in {into}/routed, "
            "unhandled, duplicates and blocked. Two messages were skipped and stay in their mailboxes: Graph does not "
            f"return encrypted mail ({into}/unreadable), and one message exceeds MAX_MESSAGE_BYTES ({into}/oversized)."
        )
    return 1 if failures else 0


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
