"""The demonstration: three mailboxes, six routes, two dozen messages, through the functions into a folder."""

from __future__ import annotations

import asyncio
import json
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from mailroom_cli.app_context import open_app
from mailroom_cli.commands.run_once import drain_once
from mailroom_cli.demo.automatic_messages import AUTOMATIC, BLOCKED, LARGEST, OTHERWISE
from mailroom_cli.demo.folder import prepare
from mailroom_cli.demo.graph_mailbox import graph_server
from mailroom_cli.demo.imap_server import mail_server
from mailroom_cli.demo.messages import CONTRACTS, OFFICE, OPAQUE, SUPPORT
from mailroom_cli.progress import ProgressReporter
from mailroom_cli.render import show_messages
from shared.storage.base import Table
from shared.storage.folder.blobs import HIDDEN

PASSWORD = "demonstration"  # noqa: S105  of a server that lives for a second, on loopback

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
    """Collect and route the sample mail, and show what became of it.

    Args:
        into: the folder; what an earlier demonstration left there is removed, and nothing else.
        console: where to tell.

    Returns:
        The exit status.

    Raises:
        ConfigurationError: the folder holds something else, or is in use.
    """
    inbox = [*SUPPORT, *AUTOMATIC, *OTHERWISE]
    prepare(into, [*inbox, *OFFICE, *CONTRACTS, *OPAQUE], MAILBOXES)
    with ExitStack() as stack:
        support = stack.enter_context(mail_server("support@example.com", PASSWORD, inbox))
        office = stack.enter_context(mail_server("ann@example.com\\office@example.com", PASSWORD, OFFICE))
        # In the folder's own part that the next demonstration clears: a killed one leaves nothing elsewhere.
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="demo-", dir=into.resolve() / HIDDEN)))
        settings = folder / "local.settings.json"
        graph = stack.enter_context(graph_server("contracts@example.com", CONTRACTS, OPAQUE, folder))
        settings.write_text(json.dumps({"IsEncrypted": False, "Values": _settings(into, support, office) | graph}))
        console.print(
            f"Two mailboxes with {len(inbox)} and {len(OFFICE)} messages on an embedded IMAP server, and one with "
            f"{len(CONTRACTS) + len(OPAQUE)} on a stand-in for Microsoft Graph, into {into}/"
        )
        # Without the environment: it may name mailboxes and a storage that are not the demonstration's.
        told = stack.enter_context(ProgressReporter(console))
        app = stack.enter_context(open_app(settings, told.collected, environment=False))
        failures = asyncio.run(drain_once(app, told))
        told.end()
        show_messages(app.storage, app.storage.records.scan(Table.RECEIPTS), console)
    for failure in failures:
        console.print(f"failed: {failure}")
    if not failures:
        console.print(
            f"Every message that was taken is in {into}/messages, what came of it in {into}/routed, unhandled, "
            "duplicates and blocked. Two are still in their mailboxes: Graph does not give encrypted mail out "
            f"({into}/unreadable), and one is larger than MAX_MESSAGE_BYTES ({into}/oversized)."
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
        "MAILBOXES__support__MAX_MESSAGE_BYTES": str(LARGEST),
        "MAILBOXES__office__ADDRESS": "ann@example.com",
        "MAILBOXES__office__SHARED_MAILBOX": "office@example.com",
        **ROUTES,
    }
