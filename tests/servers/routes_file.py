"""The routes file as an operator writes it: whole, over what was there."""

from __future__ import annotations

import json

from shared.config import ROUTES_PATH
from shared.storage.base import Blobs


def store_routes(blobs: Blobs, routes: object) -> None:
    """Store the routes by name; text is stored as it is."""
    data = routes.encode() if isinstance(routes, str) else json.dumps({"routes": routes}).encode()
    known = blobs.read_version(ROUTES_PATH)
    if known is None:
        assert blobs.create(ROUTES_PATH, data, content_type="application/json")
    else:
        blobs.replace(ROUTES_PATH, data, etag=known.etag, content_type="application/json")
