"""The two storages that the settings name (design: Storage)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from shared.config.env_keys import APP_STORAGE, EnvironmentKeys
from shared.config.schema import setting_name
from shared.config.validation import ErrorCollector
from shared.storage.location import StorageLocation, app_storage

_MAIL_STORAGE = "mail_storage"


def parse_storage_locations(
    environment: Mapping[str, str], keys: EnvironmentKeys, report: ErrorCollector, *, file_mode: int, base: Path | None
) -> tuple[StorageLocation | None, StorageLocation | None]:
    """Return the app's own storage and the one for mail, which by default is the same; None if its setting is wrong.

    Args:
        environment: names and values.
        keys: the settings among them.
        report: where faults are noted.
        file_mode: of new files in a folder.
        base: the folder that a relative `folder:` path is relative to; None: the current one.
    """
    own = mail = None
    parts = [place for place in keys.given if place[0].startswith(APP_STORAGE)]
    if not any(report.has(place) for place in parts):
        texts = [keys.values[place].value for place in parts]
        own = _parsed(setting_name(APP_STORAGE), texts, lambda: app_storage(environment), report)
    if (_MAIL_STORAGE,) not in keys.given:
        mail = own
    elif not report.has((_MAIL_STORAGE,)):
        key, text = keys.values[_MAIL_STORAGE,]
        mail = _parsed(key, [text], lambda: StorageLocation.parse(text, setting=setting_name(_MAIL_STORAGE)), report)
    return _placed(own, file_mode, base), _placed(mail, file_mode, base)


def _placed(address: StorageLocation | None, file_mode: int, base: Path | None) -> StorageLocation | None:
    if address is None or address.folder is None:
        return address
    address = replace(address, file_mode=file_mode)
    return address if base is None else address.below(base)


def _parsed(
    key: str, texts: list[str], parse: Callable[[], StorageLocation], report: ErrorCollector
) -> StorageLocation | None:
    trouble = None
    try:
        for text in texts:
            urlsplit(text.strip())
    except ValueError:
        # The library's own text quotes what it could not read, which may hold a key.
        trouble = "is no storage's address; check it for a missing or a strange character"
    if trouble is None:
        try:
            return parse()
        except ValueError as error:
            trouble = str(error)
    report.app_fault(key, trouble)
    return None
