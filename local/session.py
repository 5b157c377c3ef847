"""From a settings file to a wired app: what every command begins with."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from local.settings.described import LOCAL_DEFAULTS
from local.settings_file import load_settings_file
from shared import wiring
from shared.collecting.folder_round import Progress, no_progress
from shared.settings import read_settings
from shared.wiring import App, wire


@contextmanager
def open_app(settings: Path, progress: Progress = no_progress) -> Iterator[App]:
    """Put a settings file's values into the environment, as the Functions host does, and wire the app.

    The app is also the one that functions invoked in this process find.

    Args:
        settings: a file in the shape of `local.settings.json`. What the environment has already wins, as with the host.
        progress: told as mailboxes are drained.

    Yields:
        The app, until the context ends: then its storage is closed, and the environment as it was.

    Raises:
        SettingsWrong: the file, or the settings in it.
    """
    # Names are matched without case: some tools upper-case the environment.
    there = {name.lower() for name in os.environ}
    given = {**LOCAL_DEFAULTS, **load_settings_file(settings)}
    ours = {name: value for name, value in given.items() if name.lower() not in there}
    os.environ.update(ours)
    try:
        app = wire(read_settings(complete=False), progress=progress)
        wiring.use(app)
        try:
            yield app
        finally:
            app.stores.close()
    finally:
        for name in ours:
            os.environ.pop(name, None)
