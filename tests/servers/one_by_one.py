"""Blobs that are created together, as calls of their own: a test can then act between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from shared.storage.base import NewBlob


def create_one_by_one(create: Callable[..., bool], blobs: Sequence[NewBlob]) -> list[bool]:
    """Do what `Blobs.create_many` does, by `create`, which is called for each blob in turn."""
    return [
        create(blob.path, blob.data, content_type=blob.content_type, download_name=blob.download_name) for blob in blobs
    ]


def creates_blobs(inner: object, name: str) -> bool:
    """Return whether a method is `Blobs.create_many`, and not that of records."""
    return name == "create_many" and hasattr(inner, "download")
