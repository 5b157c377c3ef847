"""Units of the local host: outputs, timers' last runs, keys, routes, worker messages."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from functions_host import AppNotLoaded, Function, QueueOutput, QueueTrigger, new_traceparent
from functions_host.function_index import read_functions
from functions_host.http_server import HttpKeys, _aiohttp_path, _is_loopback
from functions_host.output_bindings import message_bodies, messages_by_queue
from functions_host.timer_listener import LastRunsFile, NoLastRuns
from functions_host.worker_messages import Message, ParameterBinding, TypedData
from shared.errors import ConfigurationError


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (TypedData(string="one"), ["one"]),
        (TypedData(string='["one"]'), ['["one"]']),
        (TypedData(string=""), [""]),
        (TypedData(bytes="é".encode()), ["é"]),
        (TypedData(json='["a", "b", {"c": 1}]'), ["a", "b", '{"c": 1}']),
        (TypedData(json='{"c": 1}'), ['{"c": 1}']),
        (TypedData(json="[]"), []),
        (TypedData(), []),
    ],
)
def test_an_output_value_becomes_queue_messages(data: TypedData, expected: list[str]) -> None:
    assert message_bodies(data) == expected


@pytest.mark.parametrize("data", [TypedData(bytes=b"\xff"), TypedData(http=Message())])
def test_a_value_that_is_not_text_is_refused(data: TypedData) -> None:
    with pytest.raises(ValueError, match=r"cannot become|can't decode"):
        message_bodies(data)


def test_two_outputs_on_the_same_queue_are_both_put() -> None:
    outputs = (QueueOutput("a", "q"), QueueOutput("b", "q"), QueueOutput("c", "r"), QueueOutput("$return", "s"))
    function = Function("f", "id", QueueTrigger("item", "in"), outputs)
    put = messages_by_queue(function, {"a": TypedData(string="1"), "b": TypedData(json='["2"]')}, TypedData(string="3"))
    assert put == {"q": ["1", "2"], "s": ["3"]}


def test_last_runs_are_kept_and_a_damaged_file_counts_as_empty(tmp_path: Path) -> None:
    path = tmp_path / "timers.json"
    when = datetime(2026, 11, 23, 12, tzinfo=UTC)
    last_runs = LastRunsFile(path)
    assert last_runs.read("tick") is None
    last_runs.write("tick", when)
    last_runs.write("tock", when)
    assert LastRunsFile(path).read("tick") == LastRunsFile(path).read("tock") == when
    assert [entry.name for entry in tmp_path.iterdir()] == ["timers.json"]
    for damaged in ("", "[]", '{"tick": 5}', '{"tick": "yesterday"}', '{"tick": "2026-11-23T12:00:00"}'):
        path.write_text(damaged)
        assert last_runs.read("tick") is None
    last_runs.write("tick", when)
    assert last_runs.read("tick") == when


def test_last_runs_that_cannot_be_written_are_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    LastRunsFile(tmp_path / "nowhere" / "timers.json").write("tick", datetime.now(UTC))
    assert "timer tick: the time of its last run cannot be written" in caplog.text
    NoLastRuns().write("tick", datetime.now(UTC))
    assert NoLastRuns().read("tick") is None


def test_keys_authorize_calls_by_level() -> None:
    assert HttpKeys().authorize("admin", "")
    keys = HttpKeys(function=("f",), admin=("a",))
    assert keys.authorize("anonymous", "")
    assert keys.authorize("function", "f")
    assert keys.authorize("function", "a")
    assert keys.authorize("admin", "a")
    assert not keys.authorize("admin", "f")
    assert not keys.authorize("function", "é\udcff")
    assert "'f'" not in repr(keys)


def test_a_route_is_converted_to_aiohttp_syntax() -> None:
    assert _aiohttp_path("api", "a/b", "f") == "/api/a/b"
    assert _aiohttp_path("", "/a/", "f") == "/a"
    assert _aiohttp_path("api", "a/{name}/{number:int}/{*rest}", "f") == r"/api/a/{name}/{number:\d+}/{rest:.*}"
    with pytest.raises(AppNotLoaded, match="function f"):
        _aiohttp_path("api", "a/{when:datetime}", "f")


@pytest.mark.parametrize(
    ("host", "loopback"), [("127.0.0.1", True), ("::1", True), ("localhost", True), ("10.0.0.1", False)]
)
def test_loopback_addresses_are_recognised(host: str, loopback: bool) -> None:
    assert _is_loopback(host) is loopback
    assert not _is_loopback("mail.example.com")


def test_an_unset_field_of_a_message_is_none() -> None:
    message = Message(a=1)
    assert message.a == 1
    assert message.b is None
    assert not hasattr(message, "TypedData")
    assert not hasattr(message, "__deepcopy__")
    assert copy.deepcopy(message).a == 1
    assert TypedData().WhichOneof("data") is None
    assert TypedData(bytes=b"").WhichOneof("data") == "bytes"
    assert ParameterBinding(name="a", data=TypedData()).WhichOneof("rpc_data") == "data"
    assert ParameterBinding(name="a").WhichOneof("rpc_data") is None


def test_traceparents_are_well_formed_and_new() -> None:
    version, trace, span, flags = new_traceparent().split("-")
    assert (version, len(trace), len(span), flags) == ("00", 32, 16, "01")
    assert new_traceparent() != new_traceparent()


def _indexed(name: str, *bindings: Mapping[str, object]) -> SimpleNamespace:
    return SimpleNamespace(name=name, function_id=name, raw_bindings=[json.dumps(binding) for binding in bindings])


def test_all_missing_settings_are_reported_at_once() -> None:
    timer = {"type": "timerTrigger", "name": "t", "schedule": "%ONE%"}
    queue = {"type": "queueTrigger", "name": "q", "queueName": "%TWO%-%THREE%", "connection": "AzureWebJobsStorage"}
    with pytest.raises(ConfigurationError) as caught:
        read_functions([_indexed("a", timer), _indexed("b", queue)], {"Two": "x"})
    assert [error.split(" is not set")[0] for error in caught.value.errors] == ["ONE", "THREE"]


def test_another_connection_or_no_trigger_is_refused() -> None:
    with pytest.raises(AppNotLoaded, match="names the connection OTHER"):
        read_functions(
            [_indexed("a", {"type": "queueTrigger", "name": "q", "queueName": "q", "connection": "OTHER"})], {}
        )
    with pytest.raises(AppNotLoaded, match="has 0 triggers"):
        read_functions([_indexed("a", {"type": "queue", "name": "q", "queueName": "q"})], {})
