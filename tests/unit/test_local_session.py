"""A settings file's values are in the environment as long as its app is open."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from local.session import open_app
from shared.errors import SettingsWrong


def written(folder: Path, **values: str) -> Path:
    path = folder / "settings.json"
    path.write_text(json.dumps({"Values": values}))
    return path


def test_what_the_environment_has_wins_and_it_is_left_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("poll_schedule", "0 */2 * * * *")
    before = dict(os.environ)
    values = {
        "AzureWebJobsStorage": f"folder:{tmp_path / 'mail'}",
        "POLL_SCHEDULE": "0 * * * * *",
        "MAIL_CONTAINER": "post",
    }
    with open_app(written(tmp_path, **values)) as app:
        assert (app.settings.poll_schedule, app.settings.mail_container) == ("0 */2 * * * *", "post")
        assert os.environ["MAIL_CONTAINER"] == "post"
    assert dict(os.environ) == before


def test_settings_that_are_wrong_leave_nothing_behind(tmp_path: Path) -> None:
    before = dict(os.environ)
    with pytest.raises(SettingsWrong), open_app(written(tmp_path, AzureWebJobsStorage="nonsense", LOOP_LIMIT="7")):
        pytest.fail("it is not to be opened")
    assert dict(os.environ) == before
