"""Free TCP ports on the loopback interface."""

from __future__ import annotations

import secrets
import socket
from contextlib import suppress

RANGE = range(10_000, 32_768)
"""Ports below the range for outgoing connections in Linux (ip_local_port_range)."""


def free_ports(count: int) -> list[int]:
    """Return ports on which no server listens.

    They are random, so that parallel test processes rarely choose the same port. A server that cannot bind its port is
    started again with another one.
    """
    ports: set[int] = set()
    while len(ports) < count:
        port = secrets.choice(RANGE)
        with suppress(OSError):
            socket.create_server(("127.0.0.1", port)).close()
            ports.add(port)
    return list(ports)
