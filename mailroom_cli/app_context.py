"""From a settings file to a wired app: what every command begins with."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from mailroom_cli.commands.settings.reference import LOCAL_DEFAULTS
from mailroom_cli.settings_file import load_settings_file
from shared import bootstrap
from shared.bootstrap import App, build_app
from shared.config import load_settings
from shared.errors import ConfigurationError
from shared.intake.folder_sync import Progress, no_progress
from shared.storage.factory import open_storage

FOLDER = "folder:"
_STORAGES = frozenset({"azurewebjobsstorage", "mail_storage"})


@contextmanager
def open_app(
    settings: Path, progress: Progress = no_progress, *, create: bool = True, environment: bool = True
) -> Iterator[App]:
    """Put a settings file's values into the environment, as the Functions host does, and wire the app.

    The app is also the one that functions invoked in this process find. A relative `folder:` path is relative to the
    settings file, symbolic links to it followed: the current directory does not count.

    Args:
        settings: a file in the shape of `local.settings.json`.
        progress: told as mailboxes are drained.
        create: make the store if there is none. False: reading finds nothing in it, and nothing is made.
        environment: what the environment has already wins over the file, as with the host. False: the file alone
            counts.

    Yields:
        The app, until the context ends: then its storage is closed, and the environment as it was.

    Raises:
        ConfigurationError: the file, or the settings in it.
    """
    file = {**LOCAL_DEFAULTS, **load_settings_file(settings)}
    names = {name.lower() for name in file}
    # Names are matched without case: some tools upper-case the environment.
    before = {name: value for name, value in os.environ.items() if name.lower() in names}
    if environment:
        _refuse_relative_folders(os.environ)
        there = {name.lower() for name in before}
        ours = {name: value for name, value in file.items() if name.lower() not in there}
    else:
        ours = file
        for name in before:
            del os.environ[name]
    os.environ.update(ours)
    try:
        read = load_settings(os.environ if environment else ours, complete=False, base=settings.resolve().parent)
        stores = open_storage(read.app_storage, read.mail_storage, read.mail_container, create=create)
        try:
            app = build_app(read, stores, progress=progress)
            bootstrap.install_app(app)
            yield app
        finally:
            stores.close()
    finally:
        for name in ours:
            os.environ.pop(name, None)
        os.environ.update(before)


def _refuse_relative_folders(environment: Mapping[str, str]) -> None:
    """Refuse a relative folder in the environment: it belongs to no file, and a second store is made without notice.

    Raises:
        ConfigurationError: there is one.
    """
    faults = [
        f"{name}: the environment gives a relative folder, which would depend on the current directory; write "
        f"{FOLDER} and an absolute path, or put the setting into the settings file"
        for name, value in environment.items()
        if name.lower() in _STORAGES and _is_relative(value.strip())
    ]
    if faults:
        raise ConfigurationError(*faults)


def _is_relative(storage: str) -> bool:
    path = storage.removeprefix(FOLDER).strip()
    return storage.startswith(FOLDER) and bool(path) and not Path(path).is_absolute()
