"""Read settings files in the format of `local.settings.json`, as the Azure Functions tools do."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from shared.errors import ConfigurationError, printable

DEFAULT_FILE: Final = Path("local.settings.json")
"""The file that all commands read, unless another is named."""

SETTINGS_VARIABLE: Final = "MAILROOM_SETTINGS"
"""The environment variable that names the file, where `--settings` does not."""

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
            *(
                f"{describe(path)}: {printable(name)} is an object or a list; write it as text in quotes"
                for name in nested
            )
        )
    return {name: _to_text(value) for name, value in values.items() if value is not None}


def describe(path: Path) -> str:
    """Return a settings file's path, with the environment variable if that names the file."""
    return f"{path} (from {SETTINGS_VARIABLE})" if str(path) == os.environ.get(SETTINGS_VARIABLE) else str(path)


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        problem = (
            "does not exist; create one with `mailroom settings`, or name another file with --settings or "
            f"{SETTINGS_VARIABLE}"
        )
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
    return ConfigurationError(f"{describe(path)}: {problem}")


_TOKEN = re.compile(r'"(?:\\.|[^"\\\n])*"|//[^\n]*|/\*.*?\*/|[{}\[\]:,]|[^\s{}\[\]:,"/]+', re.DOTALL)


def insert_values(text: str, values: Mapping[str, str]) -> str:
    """Return a settings file's text with settings added at the end of `Values`. The rest stays as it is.

    Args:
        text: the text of a file that `load_settings_file` reads.
        values: the settings.
    """
    tokens = [match for match in _TOKEN.finditer(text) if not match[0].startswith(("//", "/*"))]
    opening = _values_object(tokens)
    closing = _matching_brace(tokens, opening)
    last, end = tokens[closing - 1], tokens[closing].start()
    is_empty = closing == opening + 1
    entries = ",\n".join(
        f"    {json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}" for name, value in values.items()
    )
    # A comment may follow the last setting: the comma goes before it, the new settings after it.
    before = text[: last.end()] + ("" if is_empty else ",") + text[last.end() : end].rstrip()
    return f"{before}\n{'' if is_empty else chr(10)}{entries}\n  {text[end:]}"


def _values_object(tokens: Sequence[re.Match[str]]) -> int:
    """Return the index of the brace that opens the object `Values`."""
    depth = 0
    for index, token in enumerate(tokens):
        if depth == 1 and token[0] == '"Values"' and tokens[index + 1][0] == ":":
            return index + 2
        depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(token[0], 0)
    raise AssertionError("the file has no Values")


def _matching_brace(tokens: Sequence[re.Match[str]], opening: int) -> int:
    """Return the index of the brace that closes the object which a brace opens."""
    depth = 0
    for index in range(opening, len(tokens)):
        depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(tokens[index][0], 0)
        if depth == 0:
            return index
    raise AssertionError("the object has no end")
