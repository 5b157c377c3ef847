"""A mailbox on a real server with a storage: each poll is a new process with a session of its own."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from shared.bootstrap import App
from shared.config import MailboxSettings
from shared.documents.blob_paths import raw_path
from shared.intake.folder_sync import DrainStats
from shared.mailboxes.base import Batch, ListedMessage, Mailbox
from shared.mailboxes.factory import open_mailbox
from shared.mailboxes.oauth.token_cache import TokenCache
from shared.queue_messages import Poll, PollReason
from shared.storage.factory import open_storage
from tests.integration.holding import Holding
from tests.servers.accounts import Account
from tests.servers.memory_app import app_on, settings_for
from tests.servers.pump import work_until_idle


class MailboxFixture(Holding):
    """One mailbox, `support`, with its storage.

    Attributes:
        values: its settings, without `MAILBOXES__support__`.
        routes: the settings of routes, in full.
        downloads: number of requested messages.
    """

    def __init__(self, folder: Path, account: Account, protocol: str, **values: str) -> None:
        self.folder = folder
        self.values = {
            "ADDRESS": "support@example.com",
            "PROTOCOL": protocol,
            "HOST": "localhost",
            "PORT": str(account.imap if protocol == "imap" else account.pop3),
            "USERNAME": account.name,
            "PASSWORD": account.password,
            "CA_FILE": str(account.ca_file),
            **values,
        }
        self.routes: Mapping[str, str] = {"ROUTES__support__ADDRESS": "support@example.com"}
        self.downloads = 0
        settings = settings_for(f"folder:{folder}", self._settings())
        super().__init__(open_storage(settings.app_storage, settings.mail_storage, "mail"))

    def app(self) -> App:
        """Return the app as a new process has it."""

        def connect(settings: MailboxSettings) -> Mailbox:
            mailbox = open_mailbox(settings, TokenCache())
            fetch = mailbox.fetch

            def counted(batches: Iterable[Sequence[ListedMessage]], *, max_bytes: int) -> Generator[Batch, None, None]:
                return fetch(self._count(batches), max_bytes=max_bytes)

            mailbox.fetch = counted  # type: ignore[method-assign]  # counts, and does the same
            return mailbox

        return app_on(settings_for(f"folder:{self.folder}", self._settings()), connect, stores=self.stores)

    def poll(self) -> DrainStats:
        """Poll the mailbox and route the stored messages; fail if the mailbox could not be drained."""
        app = self.app()
        drained = app.poller.poll(Poll("support", PollReason.MANUAL))
        work_until_idle(app)
        assert drained is not None, app.health.get("support").last_error
        return drained

    def failing_poll(self) -> str:
        """Poll the mailbox, route the stored messages, and return the error with which the poll ended."""
        app = self.app()
        assert app.poller.poll(Poll("support", PollReason.MANUAL)) is None
        work_until_idle(app)
        error = app.health.get("support").last_error
        assert error
        return error

    def stored(self) -> list[bytes]:
        """Return the bytes of every stored message, sorted."""
        contents = [self.stores.blobs.read(raw_path(receipt.message)) for receipt in self.receipts()]
        return sorted(content for content in contents if content is not None)

    def results(self) -> list[dict[str, Any]]:
        """Return all results."""
        return [self.read(path) for path in self.paths("routed/")]

    def _count(self, batches: Iterable[Sequence[ListedMessage]]) -> Generator[Sequence[ListedMessage], None, None]:
        for batch in batches:
            self.downloads += len(batch)
            yield batch

    def _settings(self) -> dict[str, str]:
        return {**{f"MAILBOXES__support__{name}": value for name, value in self.values.items()}, **self.routes}
