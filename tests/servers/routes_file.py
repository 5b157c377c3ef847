"""Write the routes file as an operator does, replacing an existing one."""

from __future__ import annotations

import json

from shared.config import ROUTES_PATH
from shared.storage.base import Blobs


def store_routes(blobs: Blobs, routes: object) -> None:
    """Store routes by name. A text is stored unchanged."""
    data = routes.encode() if isinstance(routes, str) else json.dumps({"routes": routes}).encode()
    current = blobs.read_version(ROUTES_PATH)
    if current is None:
        assert blobs.create(ROUTES_PATH, data, content_type="application/json")
    else:
        blobs.replace(ROUTES_PATH, data, etag=current.etag, content_type="application/json")
