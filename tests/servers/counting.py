"""A storage that counts what is written to its blobs."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(slots=True)
class CountingBlobs:
    """Blobs that pass everything on, and count.

    Attributes:
        inner: where blobs are stored.
        sizes: by path, the bytes of each write.
    """

    inner: Any
    sizes: list[tuple[str, int]] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def create(self, path: str, data: bytes | Path, **how: Any) -> bool:
        self.sizes.append((path, data.stat().st_size if isinstance(data, Path) else len(data)))
        return bool(self.inner.create(path, data, **how))

    def replace(self, path: str, data: bytes, **how: Any) -> None:
        self.sizes.append((path, len(data)))
        self.inner.replace(path, data, **how)

    @property
    def written(self) -> int:
        """Return the bytes of all writes."""
        return sum(size for _, size in self.sizes)
