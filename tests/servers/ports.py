"""Free TCP ports on the loopback interface."""

from __future__ import annotations

import secrets
import socket
from contextlib import suppress

RANGE = range(10_000, 32_768)
"""Below the range that Linux takes the ports of outgoing connections from (ip_local_port_range)."""


def free_ports(count: int) -> list[int]:
    """Return ports that no server listens on.

    They are random, so that test processes beside each other rarely choose the same one. A server that cannot bind its
    port is started again with another.
    """
    ports: set[int] = set()
    while len(ports) < count:
        port = secrets.choice(RANGE)
        with suppress(OSError):
            socket.create_server(("127.0.0.1", port)).close()
            ports.add(port)
    return list(ports)
