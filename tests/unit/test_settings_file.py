"""Reading `local.settings.json`."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest

from mailroom_cli.settings_file import load_settings_file
from shared.errors import ConfigurationError


def load(folder: Path, text: str | bytes) -> dict[str, str]:
    path = folder / "local.settings.json"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return load_settings_file(path)


def error_text(folder: Path, content: str | bytes) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load(folder, content)
    assert caught.value.__context__ is None
    assert "hush" not in "".join(traceback.format_exception(caught.value))
    (text,) = caught.value.errors
    path = f"{folder / 'local.settings.json'}: "
    assert text.startswith(path)
    return text.removeprefix(path)


def test_settings_are_returned_as_text(tmp_path: Path) -> None:
    assert load(
        tmp_path,
        '{"IsEncrypted": false, "Values": {"A": "b", "N": 5, "F": 1.50, "T": true, "X": null}, "Host": {"CORS": "*"}}',
    ) == {"A": "b", "N": "5", "F": "1.50", "T": "true"}


def test_is_encrypted_is_optional_and_a_byte_order_mark_is_ignored(tmp_path: Path) -> None:
    assert load(tmp_path, '\ufeff{"Values": {"A": "ä"}}') == {"A": "ä"}


def test_comments_are_removed_and_strings_are_unchanged(tmp_path: Path) -> None:
    text = """// the settings
    {
      "Values": {  // here they are
        // "OFF": "x",
        "URL": "https://example.com/*no comment*/", /* two
        lines */ "QUOTE": "a\\"//b"
      }
    }"""
    assert load(tmp_path, text) == {"URL": "https://example.com/*no comment*/", "QUOTE": 'a"//b'}


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="does not exist; create one with `mailroom settings`"):
        load_settings_file(tmp_path / "none.json")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_settings_file(tmp_path)


def test_invalid_json_is_reported_with_its_line(tmp_path: Path) -> None:
    assert error_text(tmp_path, '// one\n/* two\n */ {"Values": {\n "PASSWORD": "hush",,\n}}').startswith(
        "is not JSON: line 4, column "
    )
    assert error_text(tmp_path, "").startswith("is not JSON: line 1")
    assert "is not UTF-8" in error_text(tmp_path, b'{"Values": {"PASSWORD": "hush\xff"}}')
    assert "nested" in error_text(tmp_path, "[" * 100_000)


@pytest.mark.parametrize(
    "text", ['{"IsEncrypted": true, "Values": {"A": "hush"}}', '{"IsEncrypted": "true", "Values": {}}']
)
def test_an_encrypted_file_is_refused(tmp_path: Path, text: str) -> None:
    assert error_text(tmp_path, text).startswith("is encrypted; ")


@pytest.mark.parametrize("text", ["{}", '{"Values": []}', '{"values": {"A": "hush"}}', '{"A": "hush"}'])
def test_a_file_without_values(tmp_path: Path, text: str) -> None:
    assert error_text(tmp_path, text).startswith('has no object "Values"; ')


def test_a_file_without_an_object(tmp_path: Path) -> None:
    assert error_text(tmp_path, '["hush"]').startswith("is not a JSON object")


def test_values_that_are_not_text_are_refused(tmp_path: Path) -> None:
    assert (
        error_text(tmp_path, '{"Values": {"A": {"hush": 1}}}') == "A is an object or a list; write it as text in quotes"
    )
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path, '{"Values": {"A": [], "B": {}}}')
    assert len(caught.value.errors) == 2


def test_a_duplicate_name_is_refused(tmp_path: Path) -> None:
    assert error_text(tmp_path, '{"Values": {"A": "hush", "A": "hush2"}}') == "has A twice; remove one of the two"
