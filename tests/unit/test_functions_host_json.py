"""host.json and the environment variables that override it."""

from __future__ import annotations

from pathlib import Path

import pytest

from functions_host.host_json import HostConfig, read_config
from shared.errors import ConfigurationError

ROOT = Path(__file__).parents[2]


def _write_host_json(folder: Path, text: str) -> Path:
    (folder / "host.json").write_text(text)
    return folder


def test_defaults_are_those_of_azure_functions(tmp_path: Path) -> None:
    config = read_config(_write_host_json(tmp_path, '{"version": "2.0"}'), {})
    assert config == HostConfig()
    assert (config.batch_size, config.new_batch_threshold, config.concurrency) == (16, 8, 24)
    assert (config.max_dequeue_count, config.visibility_timeout) == (5, 0)
    assert (config.max_polling_interval, config.function_timeout, config.route_prefix) == (60, 1800, "api")


def test_the_projects_host_json_is_read() -> None:
    config = read_config(ROOT, {})
    assert config.max_dequeue_count == 5
    assert config.visibility_timeout == 60
    assert config.function_timeout == 1800


def test_environment_variables_override_the_file_regardless_of_case(tmp_path: Path) -> None:
    folder = _write_host_json(tmp_path, '{"extensions": {"queues": {"batchSize": 4, "visibilityTimeout": "00:01:00"}}}')
    environment = {
        "AzureFunctionsJobHost__extensions__queues__batchSize": "7",
        "AZUREFUNCTIONSJOBHOST__EXTENSIONS__QUEUES__VISIBILITYTIMEOUT": "1.00:00:00.5",
        "AzureFunctionsJobHost__functionTimeout": "-1",
        "AzureFunctionsJobHost__extensions__http__routePrefix": "",
    }
    config = read_config(folder, environment)
    assert config.batch_size == 7
    assert config.visibility_timeout == 86400.5
    assert config.function_timeout is None
    assert config.route_prefix == ""


def test_all_errors_are_reported_at_once_with_their_paths(tmp_path: Path) -> None:
    folder = _write_host_json(
        tmp_path,
        '{"functionTimeout": 5, "extensions": {"queues": '
        '{"batchSize": 33, "maxDequeueCount": true, "visibilityTimeout": "soon", "messageEncoding": "none"}}}',
    )
    with pytest.raises(ConfigurationError) as caught:
        read_config(folder, {"AzureFunctionsJobHost__extensions__queues__newBatchThreshold": "many"})
    assert sorted(error.split(" is invalid")[0] for error in caught.value.errors) == [
        "AzureFunctionsJobHost__extensions__queues__newBatchThreshold",
        "host.json: extensions.queues.batchSize",
        "host.json: extensions.queues.maxDequeueCount",
        "host.json: extensions.queues.messageEncoding",
        "host.json: extensions.queues.visibilityTimeout",
        "host.json: functionTimeout",
    ]


@pytest.mark.parametrize(
    ("text", "problem"), [("{", "not JSON"), ("[]", "not a JSON object"), (None, "cannot be read")]
)
def test_an_unreadable_file_is_reported(tmp_path: Path, text: str | None, problem: str) -> None:
    if text is not None:
        _write_host_json(tmp_path, text)
    with pytest.raises(ConfigurationError, match=problem):
        read_config(tmp_path, {})
