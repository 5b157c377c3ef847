"""A file of settings in the shape of `local.settings.json`, as the Functions tools have it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from shared.errors import ConfigurationError, printable

_COMMENT = re.compile(r'("(?:\\.|[^"\\\n])*")|//[^\n]*|/\*.*?\*/', re.DOTALL)


class _Twice(ValueError):
    """A name stands twice in one object."""


def load_settings_file(path: Path) -> dict[str, str]:
    """Read a settings file.

    Args:
        path: JSON, `{"IsEncrypted": false, "Values": {…}}`; comments (`//` and `/* */`) may stand in it.

    Returns:
        Names and values. Numbers and truth values become text as they are written; null counts as not set.

    Raises:
        ConfigurationError: the file is missing, unreadable, encrypted, or not of this shape. No value of it is shown.
    """
    content = _parsed(path, _without_comments(_text(path)))
    if not isinstance(content, dict):
        raise _wrong(path, 'does not hold an object; write {"IsEncrypted": false, "Values": {…}}')
    if content.get("IsEncrypted") not in (None, False, "false", "False"):
        raise _wrong(path, "is encrypted; run `func settings decrypt`, or set IsEncrypted to false and write it anew")
    values = content.get("Values")
    if not isinstance(values, dict):
        raise _wrong(path, 'has no "Values"; put the settings into "Values": {…}')
    nested = [name for name, value in values.items() if isinstance(value, dict | list)]
    if nested:
        raise ConfigurationError(
            *(_fault(path, f"{printable(name)} is no text; write one text in quotes") for name in nested)
        )
    return {name: _as_text(value) for name, value in values.items() if value is not None}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        trouble = "is not there; write one with `mailroom settings`, or name another with --settings"
    except UnicodeDecodeError:
        trouble = "is not UTF-8; save it as UTF-8"
    except OSError as error:
        trouble = f"cannot be read: {error.strerror}"
    raise _wrong(path, trouble)


def _without_comments(text: str) -> str:
    # Line feeds stay, so that the line of a fault is the file's.
    return _COMMENT.sub(lambda found: found[1] or "\n" * found[0].count("\n"), text)


def _parsed(path: Path, text: str) -> Any:
    try:
        return json.loads(text, parse_int=str, parse_float=str, parse_constant=str, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        trouble = f"is no JSON, line {error.lineno}, column {error.colno}: {error.msg}; correct it there"
    except _Twice as error:
        trouble = f"names {error} twice; remove one of the two"
    except RecursionError:
        trouble = 'is nested too deeply; write {"IsEncrypted": false, "Values": {…}}'
    # Outside of the except: the parser's own error holds the whole text.
    raise _wrong(path, trouble)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise _Twice(printable(name))
        found[name] = value
    return found


def _as_text(value: str | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else value


def _fault(path: Path, trouble: str) -> str:
    return f"{path}: {trouble}"


def _wrong(path: Path, trouble: str) -> ConfigurationError:
    return ConfigurationError(_fault(path, trouble))
