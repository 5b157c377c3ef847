"""The handler of Graph's notification requests, which needs only the keys and the mailboxes' names.

Graph expects a response within a few seconds, a cold start included, and drops slow endpoints. This module therefore
imports neither the Graph SDK nor the storage SDKs (`tests/unit/test_webhook_imports.py`).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
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
from shared.observability.rate_limited_log import RateLimitedLog

_log = logging.getLogger("mailroom.webhook")


@dataclass(frozen=True, slots=True)
class WebhookResponse:
    """An HTTP response, and the messages that the function puts on its queues.

    Attributes:
        status: HTTP status.
        text: plain text body.
        polls: messages for the queue `polls`.
        lifecycle: messages for the queue `lifecycle`.
    """

    status: int
    text: str = ""
    polls: tuple[str, ...] = ()
    lifecycle: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Webhook:
    """A handler of Microsoft Graph's requests.

    Attributes:
        keys: keys of which any may prove a notification.
        folders: the configured folders by `folder_token`.
        now: returns the current time.
        telemetry: Application Insights connection string; None: nothing is exported.
    """

    keys: tuple[str, ...] = field(repr=False)
    folders: Mapping[str, FolderRef]
    now: Now = utc_now
    telemetry: SecretStr | None = None
    _dropped: RateLimitedLog = field(default_factory=RateLimitedLog, init=False, repr=False, compare=False)
    _refused: dict[int, RateLimitedLog] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def from_settings(cls, settings: AppSettings, now: Now = utc_now) -> Webhook:
        """Return the handler for the app's settings."""
        folders = {
            folder_token(mailbox.name, folder): FolderRef(mailbox.name, folder)
            for mailbox in settings.mailboxes.values()
            if mailbox.protocol is MailProtocol.GRAPH
            for folder in mailbox.folders
        }
        keys = tuple(key.get_secret_value() for key in settings.graph_client_state_keys)
        return cls(keys, folders, now, settings.telemetry)

    def handle(self, body: bytes, validation_token: str | None, traceparent: str = "") -> WebhookResponse:
        """Return the response to a request.

        Args:
            body: the request's body.
            validation_token: the query parameter `validationToken`, URL-decoded; None if the request has none.
            traceparent: the trace that the resulting work belongs to.
        """
        try:
            if validation_token is not None:
                return WebhookResponse(HTTPStatus.OK, validation_response(validation_token))
            parsed = parse_notifications(body, self.keys, self.folders, now=self.now(), traceparent=traceparent)
        except InvalidNotification as error:
            if refused := self._refused.setdefault(error.status, RateLimitedLog()).add(1, self.now()):
                _log.warning("refused %d requests to graph_webhook with status %d: %s", refused, error.status, error)
            return WebhookResponse(error.status)
        self._log_parsed(parsed)
        return WebhookResponse(
            HTTPStatus.ACCEPTED,
            polls=tuple(poll.to_json() for poll in parsed.polls),
            lifecycle=tuple(event.to_json() for event in parsed.lifecycle),
        )

    def _log_parsed(self, parsed: ParsedNotifications) -> None:
        if dropped := self._dropped.add(parsed.dropped, self.now()):
            _log.warning(
                "dropped %d notification entries: GRAPH_CLIENT_STATE_KEY does not prove their clientState, or it names "
                "a folder that is not configured",
                dropped,
            )
        for kind in parsed.unknown:
            _log.warning("Microsoft Graph sent an unknown lifecycle event: %s", kind)
        for event in parsed.lifecycle:
            _log.info("mailbox %s, %s: Microsoft Graph sent %s", event.mailbox, event.folder, event.kind)


_lock = threading.Lock()
_webhook: Webhook | None = None


def webhook() -> Webhook:
    """Return the process's handler, created from the app settings at the first call.

    Raises:
        ConfigurationError: the app's settings are invalid. The next call tries again.
    """
    global _webhook  # noqa: PLW0603  the worker is one process and reads its settings once
    with _lock:
        if _webhook is None:
            # Certificates and routes are not checked here: Graph is waiting, and the other functions check them.
            _webhook = Webhook.from_settings(load_settings(certificates=False, complete=False))
        return _webhook
