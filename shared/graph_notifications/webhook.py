"""The notification function's own small app: the keys and the mailboxes' names, and nothing that takes long to load.

Graph gives an endpoint a few seconds, a cold start included, and leaves slow ones out. So nothing is imported here that
leads to the Graph SDK or the storage SDKs; a test holds that.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http import HTTPStatus

from pydantic import SecretStr

from shared.clock import Now, utc_now
from shared.config import AppSettings, MailProtocol, load_settings
from shared.graph_notifications.client_state import folder_token
from shared.graph_notifications.notifications import (
    FolderRef,
    InvalidNotification,
    ParsedNotifications,
    parse_notifications,
    validation_response,
)

_log = logging.getLogger("mailroom.webhook")


LOG_EVERY = timedelta(minutes=1)
"""How often requests of strangers are logged: they may send thousands a second."""


class RateLimitedLog:
    """A count of what happens often, reported once a minute; called from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0
        self._reported: datetime | None = None

    def add(self, number: int, now: datetime) -> int:
        """Return the count since the last report if one is due and there is anything to report, else 0.

        Args:
            number: occasions since the last call.
            now: the time.
        """
        with self._lock:
            self._count += number
            # The clock may have been set back.
            if not self._count or (self._reported is not None and abs(now - self._reported) < LOG_EVERY):
                return 0
            count, self._count, self._reported = self._count, 0, now
            return count


@dataclass(frozen=True, slots=True)
class WebhookResponse:
    """What the function answers, and what it puts on its queues.

    Attributes:
        status: of HTTP.
        text: the body, plain.
        polls: bodies for the queue `polls`.
        lifecycle: bodies for the queue `lifecycle`.
    """

    status: int
    text: str = ""
    polls: tuple[str, ...] = ()
    lifecycle: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Webhook:
    """Answers Microsoft Graph.

    Attributes:
        keys: any of them proves that a notification is meant for us.
        places: the folders that may be meant, by what their `clientState` calls them.
        now: the time.
        telemetry: Application Insights's connection string; None: nothing is exported.
    """

    keys: tuple[str, ...] = field(repr=False)
    places: Mapping[str, FolderRef]
    now: Now = utc_now
    telemetry: SecretStr | None = None
    _dropped: RateLimitedLog = field(default_factory=RateLimitedLog, init=False, repr=False, compare=False)
    _refused: dict[int, RateLimitedLog] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def of(cls, settings: AppSettings, now: Now = utc_now) -> Webhook:
        """From the app's settings."""
        places = {
            folder_token(mailbox.name, folder): FolderRef(mailbox.name, folder)
            for mailbox in settings.mailboxes.values()
            if mailbox.protocol is MailProtocol.GRAPH
            for folder in mailbox.folders
        }
        keys = tuple(key.get_secret_value() for key in settings.graph_client_state_keys)
        return cls(keys, places, now, settings.telemetry)

    def answer(self, body: bytes, validation_token: str | None, traceparent: str = "") -> WebhookResponse:
        """What a request is to be answered.

        Args:
            body: as it came.
            validation_token: the query parameter of that name, URL-decoded; None if there is none.
            traceparent: the trace that what comes of it belongs to.
        """
        try:
            if validation_token is not None:
                return WebhookResponse(HTTPStatus.OK, validation_response(validation_token))
            received = parse_notifications(body, self.keys, self.places, now=self.now(), traceparent=traceparent)
        except InvalidNotification as error:
            if refused := self._refused.setdefault(error.status, RateLimitedLog()).add(1, self.now()):
                _log.warning("%d requests to graph_webhook are refused with %d: %s", refused, error.status, error)
            return WebhookResponse(error.status)
        self._say(received)
        return WebhookResponse(
            HTTPStatus.ACCEPTED,
            polls=tuple(poll.to_json() for poll in received.polls),
            lifecycle=tuple(event.to_json() for event in received.lifecycle),
        )

    def _say(self, received: ParsedNotifications) -> None:
        if dropped := self._dropped.add(received.dropped, self.now()):
            _log.warning(
                "%d entries of notifications are dropped: their clientState is not proven by GRAPH_CLIENT_STATE_KEY, "
                "or is about no mailbox of the settings",
                dropped,
            )
        for kind in received.unknown:
            _log.warning("Graph sent a lifecycle event that is not known here: %s", kind)
        for event in received.lifecycle:
            _log.info("mailbox %s, %s: Graph sent %s", event.mailbox, event.folder, event.kind)


_lock = threading.Lock()
_webhook: Webhook | None = None


def webhook() -> Webhook:
    """The process's, made at the first call from the app settings.

    Raises:
        ConfigurationError: faults of the whole app. The next call tries again.
    """
    global _webhook  # noqa: PLW0603  the worker is one process, and reads its settings once
    with _lock:
        if _webhook is None:
            # Whose certificates are good is no concern here, nor are routes, and Graph is waiting.
            _webhook = Webhook.of(load_settings(certificates=False, complete=False))
        return _webhook
