"""Units of the local host: outputs, timers' last runs, keys, routes, worker messages."""

from __future__ import annotations

import copy
import json
import stat
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from functions_host import AppNotLoaded, Function, QueueOutput, QueueTrigger, TimerTrigger, new_traceparent
from functions_host.function_index import read_functions
from functions_host.http_server import HttpKeys, _aiohttp_path, _is_loopback
from functions_host.output_bindings import message_bodies, messages_by_queue
from functions_host.timer_status import NEVER, NoStatuses, StatusFolder, TimerStatus
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


STATUS = TimerStatus(
    datetime(2026, 11, 23, 12, tzinfo=UTC),
    datetime(2026, 11, 23, 13, tzinfo=UTC),
    datetime(2026, 11, 23, 12, 0, 1, tzinfo=UTC),
)


def test_the_status_of_timers_is_kept_and_a_damaged_file_counts_as_missing(tmp_path: Path) -> None:
    folder = tmp_path / "timers"
    statuses = StatusFolder(folder)
    assert statuses.read("tick") is None
    statuses.write("tick", STATUS)
    statuses.write("tock", STATUS)
    assert StatusFolder(folder).read("tick") == StatusFolder(folder).read("tock") == STATUS
    assert sorted(entry.name for entry in folder.iterdir()) == ["tick.json", "tock.json"]
    assert [stat.S_IMODE(path.stat().st_mode) for path in (folder, folder / "tick.json")] == [0o700, 0o600]
    texts = ("", "[]", '{"Last": 5}', json.dumps(STATUS.to_dict() | {"Next": "2026-11-23T12:00:00"}), "\x00")
    for damaged in texts:
        (folder / "tick.json").write_text(damaged)
        assert statuses.read("tick") is None
    statuses.write("tick", STATUS)
    assert statuses.read("tick") == STATUS


def test_a_status_has_the_names_of_the_functions_host() -> None:
    text = (
        '{"Last":"2026-11-23T12:00:00.0000001+00:00","Next":"2026-11-23T13:00:00Z",'
        '"LastUpdated":"0001-01-01T00:00:00Z"}'
    )
    status = TimerStatus.from_json(text)
    assert status is not None
    assert set(status.to_dict()) == set(json.loads(text))
    assert status.last_updated == NEVER


def test_a_status_that_cannot_be_written_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    StatusFolder(tmp_path / "nowhere" / "timers").write("tick", STATUS)
    assert "timer tick: its status cannot be written" in caplog.text
    NoStatuses().write("tick", STATUS)
    assert NoStatuses().read("tick") is None


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


def test_a_timer_without_a_monitor_and_a_queue_of_bytes() -> None:
    timer = {"type": "timerTrigger", "name": "t", "schedule": "0 * * * * *"}
    functions = read_functions([_indexed("a", timer), _indexed("b", {**timer, "useMonitor": False})], {})
    assert [function.trigger.use_monitor for function in functions if isinstance(function.trigger, TimerTrigger)] == [
        True,
        False,
    ]
    queue = {"type": "queueTrigger", "name": "q", "queueName": "q"}
    for data_type in (None, "", "string", "STRING"):
        read_functions([_indexed("a", {**queue, "dataType": data_type})], {})
    with pytest.raises(AppNotLoaded, match="function a: the local host passes queue messages as text"):
        read_functions([_indexed("a", {**queue, "dataType": "BINARY"})], {})
