"""`mailroom demo`: drain embedded mail servers with sample mail into a folder."""

from __future__ import annotations

from typing import Final

DEMO_FOLDER: Final = "mailroom-demo"
"""The default folder of the demo; .gitignore and .funcignore list it."""
