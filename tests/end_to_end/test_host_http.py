"""The HTTP trigger, over real connections."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import Coroutine
from typing import Any, Protocol

import aiohttp
import pytest

from functions_host.host import Host
from functions_host.http_server import MAX_BODY, HttpConfig, HttpKeys
from shared.errors import ConfigurationError
from tests.end_to_end.own_process import APPS, in_own_process
from tests.memory_queue import MemoryQueue, storage_with_queues


class Scenario(Protocol):
    def __call__(self, client: aiohttp.ClientSession, polls: MemoryQueue) -> Coroutine[Any, Any, None]: ...


async def _with_host(scenario: Scenario, keys: HttpKeys | None = None) -> None:
    """Serve the web app, run the scenario against it, stop."""
    polls = MemoryQueue()
    stop = asyncio.Event()
    opened: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    async with Host.started(APPS / "web", storage_with_queues({"polls": polls})) as host:
        config = HttpConfig(port=0, keys=keys or HttpKeys())
        serving = asyncio.create_task(host.serve(stop, config, opened.set_result))
        try:
            base = f"http://127.0.0.1:{await opened}/api/"
            async with aiohttp.ClientSession(base) as client:
                await scenario(client, polls)
        finally:
            stop.set()
            await serving


async def _requests(client: aiohttp.ClientSession, polls: MemoryQueue) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    headers = {"x-mixed-CASE": "kept", "traceparent": trace}
    async with client.post("echo?a=1&b=%C3%A9&a=2", data=b"\x00\xff body", headers=headers) as response:
        assert response.status == 202
        assert response.headers["Content-Type"] == "application/json"
        assert response.headers["X-Told"] == "yes"
        received = await response.json()
    assert received["method"] == "POST"
    assert received["url"].startswith("http://127.0.0.1:")
    assert received["body"].encode("latin-1") == b"\x00\xff body"
    assert received["query"] == {"a": "1,2", "b": "é"}
    assert received["header"] == "kept"
    assert received["trace"] == trace
    async with client.post("echo", headers={"traceparent": "00-nonsense"}) as response:
        received = await response.json()
        assert received["body"] == ""
        assert received["trace"] != "00-nonsense"
        assert len(received["trace"]) == len(trace)
    async with client.get("items/nails/12") as response:
        assert (response.status, await response.text()) == (200, "nails 12")
        assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    async with client.delete("items/nails/12") as response:
        assert response.status == 200


async def _webhook(client: aiohttp.ClientSession, polls: MemoryQueue) -> None:
    async with client.post("hook", params={"validationToken": "a token: é"}) as response:
        assert (response.status, await response.text()) == (200, "a token: é")
        assert response.headers["Content-Type"].startswith("text/plain")
    assert polls.length() == 0
    async with client.post("hook", json={"value": ["one", "two"]}) as response:
        assert (response.status, await response.read()) == (202, b"")
    assert [item.body for item in polls.receive(10, hidden_for=1)] == ["one", "two"]
    polls.failing = {"put_many": 1}
    async with client.post("hook", json={"value": ["three"]}) as response:
        assert response.status == 500  # its output could not be stored: the caller must know


async def _refusals(client: aiohttp.ClientSession, polls: MemoryQueue) -> None:
    for path in ("nowhere", "items/nails/many", "items/nails", "../echo"):
        async with client.get(path) as response:
            assert response.status == 404, path
    async with client.get("echo") as response:
        assert response.status == 405
        assert response.headers["Allow"] == "POST"
    for method in ("GET", "POST", "PUT"):
        async with client.request(method, "broken") as response:
            assert response.status == 500
            assert b"secret" not in await response.read()
    packed = gzip.compress(b"a body")
    for coding, data, status in (
        ("gzip", packed, 202),
        ("GZIP", packed, 202),
        ("deflate", zlib.compress(b"a body"), 202),
        ("deflate", zlib.compress(b"a body")[2:-4], 202),
        ("gzip", b"rubbish" * 50, 400),
        ("deflate", b"rubbish" * 50, 400),
        ("gzip", packed[:-4], 400),
        ("gzip", packed + b"rubbish", 400),
        ("gzip", packed + packed, 400),
        ("gzip", gzip.compress(b"x" * (MAX_BODY + 1), 1), 413),
        ("br", b"a body", 202),
        ("r\u00fcbbish, gzip", b"a body", 202),
    ):
        headers = {"Content-Encoding": coding, "Content-Type": "application/octet-stream"}
        async with client.post("echo", data=data, headers=headers) as response:
            assert response.status == status, coding
            content = await response.read()
            assert b"Traceback" not in content
            assert status != 202 or json.loads(content)["body"] == "a body"
    async with client.post("hook", data=b"{ no json") as response:
        assert response.status == 500
        assert b"Traceback" not in await response.read()


async def _open(client: aiohttp.ClientSession, polls: MemoryQueue) -> None:
    for path in ("guarded", "ruled"):
        async with client.get(path) as response:
            assert response.status == 200


async def _guarded(client: aiohttp.ClientSession, polls: MemoryQueue) -> None:
    async def status(path: str, **headers: str) -> int:
        async with client.get(
            path, headers={name.replace("_", "-"): value for name, value in headers.items()}
        ) as response:
            return response.status

    assert await status("guarded") == 401
    assert await status("guarded", x_functions_key="wrong") == 401
    assert await status("guarded", x_functions_key="fkey") == 200
    assert await status("guarded?code=fkey") == 200
    assert await status("guarded?code=akey") == 200
    assert await status("ruled?code=fkey") == 401
    assert await status("ruled", x_functions_key="akey") == 200
    assert await status("items/nails/1") == 200


def test_body_query_headers_status_and_trace_are_passed_on() -> None:
    in_own_process(_with_host, _requests)


def test_a_webhook_returns_its_token_and_puts_its_messages() -> None:
    in_own_process(_with_host, _webhook)


def test_error_responses_reveal_no_details() -> None:
    in_own_process(_with_host, _refusals)


def test_without_keys_loopback_is_open() -> None:
    in_own_process(_with_host, _open)


def test_with_keys_callers_must_send_one() -> None:
    in_own_process(_with_host, _guarded, HttpKeys(function=("fkey",), admin=("akey",)))


async def _answered_while_stopping() -> str:
    stop = asyncio.Event()
    opened: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    async with Host.started(APPS / "web", storage_with_queues({"polls": MemoryQueue()})) as host:
        serving = asyncio.create_task(host.serve(stop, HttpConfig(port=0), opened.set_result))
        async with aiohttp.ClientSession(f"http://127.0.0.1:{await opened}/api/") as client:
            request = asyncio.create_task(client.get("slow", params={"seconds": "0.5"}))
            await asyncio.sleep(0.2)
            stop.set()
            async with await request as response:
                text = await response.text()
        assert await serving == 0
    return text


def test_a_running_request_finishes_when_the_host_stops() -> None:
    assert in_own_process(_answered_while_stopping) == "done"


async def _listen(config: HttpConfig) -> None:
    stop = asyncio.Event()
    stop.set()
    async with Host.started(APPS / "web", storage_with_queues({"polls": MemoryQueue()})) as host:
        await host.serve(stop, config)


def test_an_open_address_without_keys_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="is reachable from other machines: configure keys"):
        in_own_process(_listen, HttpConfig(port=0, host="0.0.0.0"))


async def _port_taken() -> str:
    server = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        await _listen(HttpConfig(port=port))
    except ConfigurationError as error:
        return str(error)
    finally:
        server.close()
    return "listened"


def test_a_port_in_use_is_reported() -> None:
    assert "use another port" in in_own_process(_port_taken)
