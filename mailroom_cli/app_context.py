"""Build the app from a settings file, and describe where it stores data."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from mailroom_cli.commands.settings.reference import LOCAL_DEFAULTS
from mailroom_cli.settings_file import load_settings_file
from shared import bootstrap
from shared.bootstrap import App, build_app
from shared.config import AppSettings, load_settings
from shared.errors import ConfigurationError, ServiceUnavailable
from shared.intake.folder_sync import Progress, no_progress
from shared.storage.factory import open_storage
from shared.storage.folder.in_use import is_store
from shared.storage.location import StorageLocation

FOLDER = "folder:"
"""How the value of a storage setting begins if it names a folder."""

MISSING_STORE = "the store does not exist yet: no mail has been stored in it"

_STORAGE_SETTINGS = frozenset({"azurewebjobsstorage", "mail_storage"})


@contextmanager
def open_app(
    settings: Path, progress: Progress = no_progress, *, create: bool = True, environment: bool = True
) -> Iterator[App]:
    """Put a settings file's values into the environment, as the Functions host does, and build the app.

    Functions that run in this process find the same app. A relative `folder:` path is relative to the settings file,
    after symbolic links to the file are resolved; the current directory does not count.

    Args:
        settings: a file in the format of `local.settings.json`.
        progress: called while mailboxes are drained.
        create: create the store if it is missing. If false, a missing store appears empty and is not created.
        environment: existing environment variables override the file, as in the Functions host. If false, only the
            file counts.

    Yields:
        The app. When the context ends, its storage is closed and the environment restored.

    Raises:
        ConfigurationError: the file, or a setting in it, is invalid.
    """
    file_values = {**LOCAL_DEFAULTS, **load_settings_file(settings)}
    names = {name.lower() for name in file_values}
    # Names are case-insensitive, since some tools write environment variables in capitals.
    previous = {name: value for name, value in os.environ.items() if name.lower() in names}
    if environment:
        _refuse_relative_folders(os.environ)
        overridden = {name.lower() for name in previous}
        values = {name: value for name, value in file_values.items() if name.lower() not in overridden}
    else:
        values = file_values
        for name in previous:
            del os.environ[name]
    os.environ.update(values)
    try:
        source = os.environ if environment else values
        app_settings = load_settings(source, complete=False, base=settings.resolve().parent)
        storage = open_storage(
            app_settings.app_storage, app_settings.mail_storage, app_settings.mail_container, create=create
        )
        try:
            app = build_app(app_settings, storage, progress=progress)
            bootstrap.install_app(app)
            yield app
        finally:
            storage.close()
    finally:
        for name in values:
            os.environ.pop(name, None)
        os.environ.update(previous)


def storage_lines(settings: AppSettings) -> Iterator[str]:
    """Yield a line for each storage: its address without keys, and a note if a folder has no store yet.

    Raises:
        ServiceUnavailable: a folder cannot be read.
    """
    app, mail = settings.app_storage, settings.mail_storage
    if app.display_name == mail.display_name:
        yield f"storage: {_describe(mail)}"
    else:
        yield f"storage of mail: {_describe(mail)}"
        yield f"storage of queues and leases: {_describe(app)}"


def missing_store_lines(*locations: StorageLocation) -> Iterator[str]:
    """Yield a line for each folder that has no store yet.

    Raises:
        ServiceUnavailable: a folder cannot be read.
    """
    for location in dict.fromkeys(locations):
        if _is_missing(location):
            yield f"{location.display_name}: {MISSING_STORE}"


def require_store(*locations: StorageLocation) -> None:
    """Return if every location has a store. A storage account in Azure counts as existing.

    Raises:
        ServiceUnavailable: a folder has no store, or cannot be read.
    """
    for line in missing_store_lines(*locations):
        raise ServiceUnavailable(line)


def _describe(location: StorageLocation) -> str:
    return f"{location.display_name} ({MISSING_STORE})" if _is_missing(location) else location.display_name


def _is_missing(location: StorageLocation) -> bool:
    return location.folder is not None and not is_store(location.folder)


def _refuse_relative_folders(environment: Mapping[str, str]) -> None:
    """Refuse relative folders in environment variables.

    Such a folder would depend on the current directory, so that a second store could be created unnoticed.

    Raises:
        ConfigurationError: an environment variable names a relative folder.
    """
    errors = [
        f"{name}: the environment variable names a relative folder, which depends on the current directory; write "
        f"{FOLDER} and an absolute path, or move the setting to the settings file"
        for name, value in environment.items()
        if name.lower() in _STORAGE_SETTINGS and _is_relative(value.strip())
    ]
    if errors:
        raise ConfigurationError(*errors)


def _is_relative(storage: str) -> bool:
    path = storage.removeprefix(FOLDER).strip()
    return storage.startswith(FOLDER) and bool(path) and not Path(path).is_absolute()
