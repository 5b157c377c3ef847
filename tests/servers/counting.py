"""Blobs that record the size of each write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shared.storage.base import NewBlob
from tests.servers.one_by_one import create_one_by_one


@dataclass(slots=True)
class CountingBlobs:
    """Blobs that forward all calls and record the size of each write.

    Attributes:
        inner: the blobs to forward to.
        sizes: the path and the size in bytes of each write.
    """

    inner: Any
    sizes: list[tuple[str, int]] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def create(self, path: str, data: bytes | Path, **options: Any) -> bool:
        self.sizes.append((path, data.stat().st_size if isinstance(data, Path) else len(data)))
        return bool(self.inner.create(path, data, **options))

    def create_many(self, blobs: Sequence[NewBlob]) -> list[bool]:
        return create_one_by_one(self.create, blobs)

    def replace(self, path: str, data: bytes, **options: Any) -> None:
        self.sizes.append((path, len(data)))
        self.inner.replace(path, data, **options)

    @property
    def written(self) -> int:
        """The bytes of all writes."""
        return sum(size for _, size in self.sizes)
