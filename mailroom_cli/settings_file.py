"""Read settings files in the format of `local.settings.json`, as the Azure Functions tools do."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from shared.errors import ConfigurationError, printable

_COMMENT = re.compile(r'("(?:\\.|[^"\\\n])*")|//[^\n]*|/\*.*?\*/', re.DOTALL)


class _DuplicateName(ValueError):
    """A JSON object has a name twice."""


def load_settings_file(path: Path) -> dict[str, str]:
    """Read a settings file.

    Args:
        path: a JSON file, `{"IsEncrypted": false, "Values": {…}}`; it may have comments (`//` and `/* */`).

    Returns:
        The settings by name. Numbers and booleans are returned as the text in the file; null counts as not set.

    Raises:
        ConfigurationError: the file is missing, unreadable, encrypted or malformed. The text shows no value.
    """
    content = _parse(path, _remove_comments(_read_text(path)))
    if not isinstance(content, dict):
        raise _file_error(path, 'is not a JSON object; write {"IsEncrypted": false, "Values": {…}}')
    if content.get("IsEncrypted") not in (None, False, "false", "False"):
        raise _file_error(
            path, "is encrypted; run `func settings decrypt`, or write plain values and set IsEncrypted to false"
        )
    values = content.get("Values")
    if not isinstance(values, dict):
        raise _file_error(path, 'has no object "Values"; write the settings into "Values": {…}')
    nested = [name for name, value in values.items() if isinstance(value, dict | list)]
    if nested:
        raise ConfigurationError(
            *(f"{path}: {printable(name)} is an object or a list; write it as text in quotes" for name in nested)
        )
    return {name: _to_text(value) for name, value in values.items() if value is not None}


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        problem = "does not exist; create one with `mailroom settings`, or name another file with --settings"
    except UnicodeDecodeError:
        problem = "is not UTF-8; save it as UTF-8"
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
    raise _file_error(path, problem)


def _remove_comments(text: str) -> str:
    # Line feeds stay, so that line numbers in errors are those of the file.
    return _COMMENT.sub(lambda match: match[1] or "\n" * match[0].count("\n"), text)


def _parse(path: Path, text: str) -> Any:
    try:
        return json.loads(text, parse_int=str, parse_float=str, parse_constant=str, object_pairs_hook=_to_object)
    except json.JSONDecodeError as error:
        problem = f"is not JSON: line {error.lineno}, column {error.colno}: {error.msg}; correct this line"
    except _DuplicateName as error:
        problem = f"has {error} twice; remove one of the two"
    except RecursionError:
        problem = 'is nested too deeply; write {"IsEncrypted": false, "Values": {…}}'
    # Raised outside the except clause: the parser's exception contains the whole text.
    raise _file_error(path, problem)


def _to_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names: dict[str, Any] = {}
    for name, value in pairs:
        if name in names:
            raise _DuplicateName(printable(name))
        names[name] = value
    return names


def _to_text(value: str | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else value


def _file_error(path: Path, problem: str) -> ConfigurationError:
    return ConfigurationError(f"{path}: {problem}")
