"""Helpers of the rule tests: mail of several parts, and its documents."""

from __future__ import annotations

from typing import Any

from tests.integration.routing_fixture import RoutingFixture, identity

TEXT = "Content-Type: text/plain\r\n\r\nhello"
PDF = 'Content-Type: application/pdf\r\nContent-Disposition: attachment; filename="Offer.PDF"\r\n\r\n%PDF'


def results_of(world: RoutingFixture, *messages: bytes, mailbox: str = "support") -> list[dict[str, Any]]:
    """Deliver messages to a mailbox, one after the other, and return all results."""
    for data in messages:
        world.servers[mailbox].deliver(data)
        world.run(mailbox)
    return [world.read(path) for path in world.paths("routed/")]


def read_message(world: RoutingFixture, data: bytes) -> dict[str, Any]:
    return world.read(f"messages/{identity(data)[:2]}/{identity(data)}/message.json")


def mixed(*parts: str, headers: str = "", boundary: str = "edge") -> bytes:
    """Return a message to sales with several parts, each with header lines of its own."""
    lines = [
        f"{headers}From: a@b.example\r\nTo: sales@example.com\r\nSubject: x\r\nMessage-ID: <1@b.example>",
        f"Date: Tue, 24 Nov 2026 09:00:00 +0000\r\nContent-Type: multipart/mixed; boundary={boundary}\r\n",
        *(f"--{boundary}\r\n{part}" for part in parts),
        f"--{boundary}--\r\n",
    ]
    return "\r\n".join(lines).encode()
