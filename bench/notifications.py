"""Graph notifications, and settings for a mailbox that receives them."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence

from shared.graph_notifications.client_state import client_state, folder_token
from tests.servers.certificates import application
from tests.servers.graph import STATE_KEY

ENTRIES = 20
"""Entries in a notification."""


def notification(mailboxes: Sequence[str], entries: int = ENTRIES) -> bytes:
    """Return a notification with entries for these mailboxes in turn, as Graph sends it."""
    value = []
    for number in range(entries):
        mailbox = mailboxes[number % len(mailboxes)]
        message = f"AAkALgAAAAAAHYQDEapmEc2byACqAC-EWg0A{number:032}"
        value.append(
            {
                "subscriptionId": f"7f105c7d-2dc5-4530-97cd-4e7ae6534c{number:02}",
                "subscriptionExpirationDateTime": "2026-11-27T10:00:00.0000000+00:00",
                "changeType": "created",
                "resource": f"Users/2ff2c6a3-0000-4000-8000-0000000000{number:02}/Messages/{message}",
                "resourceData": {"@odata.type": "#Microsoft.Graph.Message", "id": message},
                "clientState": client_state(STATE_KEY, folder_token(mailbox, "INBOX")),
                "tenantId": "11111111-2222-4333-8444-555555555555",
            }
        )
    return json.dumps({"value": value}).encode()


def graph_values() -> dict[str, str]:
    """Return settings for the Graph mailbox `support`, with a key for notifications."""
    return {
        "GRAPH_WEBHOOK_URL": "https://mail.example.com/api/graph_webhook",
        "GRAPH_CLIENT_STATE_KEY": STATE_KEY,
        "MAILBOXES__support__PROTOCOL": "graph",
        "MAILBOXES__support__TENANT_ID": "11111111-2222-4333-8444-555555555555",
        "MAILBOXES__support__CLIENT_ID": "66666666-7777-4888-8999-000000000000",
        # An encrypted PKCS #12 file takes longest to open.
        "MAILBOXES__support__CERTIFICATE": base64.b64encode(application().pfx(b"a password")).decode(),
        "MAILBOXES__support__CERTIFICATE_PASSWORD": "a password",
        **dict.fromkeys(
            (f"MAILBOXES__support__{name}" for name in ("HOST", "PORT", "TLS", "USERNAME", "PASSWORD")), ""
        ),
    }
