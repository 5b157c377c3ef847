"""Every error of the Azure SDKs is one of ours, by class and by what a server really answers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import azure.core.exceptions as theirs
import pytest

from shared.errors import ServiceUnavailable, Throttled, TryAgain
from shared.keys import digest
from shared.storage.addresses import StorageAddress
from shared.storage.azure.errors import as_ours
from shared.storage.opening import open_stores
from shared.storage.protocol import QueueName, Stores, Table
from tests.servers.azurite import KEY, free_ports


def classes(base: type[Exception]) -> Iterator[type[Exception]]:
    yield base
    for one in base.__subclasses__():
        yield from classes(one)


@pytest.mark.parametrize("kind", sorted(set(classes(theirs.AzureError)), key=str), ids=lambda kind: kind.__name__)
def test_every_class_maps(kind: type[Any]) -> None:
    error = made(kind)
    ours = as_ours(error, "MAIL_STORAGE")
    assert isinstance(ours, TryAgain)
    assert "MAIL_STORAGE" in str(ours)
    assert "secret" not in str(ours)


def made(kind: type[Any]) -> Any:
    if issubclass(kind, theirs.ODataV4Error):  # made from a response alone
        return kind(SimpleNamespace(reason="Bad", status_code=500, headers={}, text=lambda: ""))
    return kind("first line\nRequestId:1\nsecret in the second")


@contextmanager
def answering(status: int, headers: dict[str, str]) -> Iterator[str]:
    """A server that gives every request one answer; gives an account's connection string."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            for name, value in {**headers, "Content-Length": "0"}.items():
                self.send_header(name, value)
            self.end_headers()

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do_PATCH = answer

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield at(server.server_port)
        finally:
            server.shutdown()
            thread.join()


def at(port: int) -> str:
    url = f"http://127.0.0.1:{port}/some"
    return f"AccountName=some;AccountKey={KEY};BlobEndpoint={url};QueueEndpoint={url};TableEndpoint={url}"


WORK: dict[str, Callable[[Stores], object]] = {
    "blob": lambda stores: stores.blobs.create("a/b", b"x", content_type="a/b"),
    "record": lambda stores: stores.records.create(Table.CLAIMS, digest("x"), {"a": 1}),
    "queue": lambda stores: stores.queues[QueueName.POLLS].put_many(["x"]),
    "lease": lambda stores: stores.leases.acquire("x", 60),
}


@contextmanager
def stores_at(connection_string: str) -> Iterator[Stores]:
    address = StorageAddress.parse(connection_string, setting="MAIL_STORAGE")
    stores = open_stores(address, address, "mail")
    try:
        yield stores
    finally:
        stores.close()


@pytest.mark.parametrize("work", WORK.values(), ids=WORK)
def test_denied_names_the_setting_and_the_roles(work: Callable[[Stores], object]) -> None:
    with answering(403, {"x-ms-error-code": "AuthorizationFailure"}) as account, stores_at(account) as stores:
        with pytest.raises(ServiceUnavailable, match="MAIL_STORAGE.*refused.*Data Contributor") as caught:
            work(stores)
        assert KEY not in str(caught.value)
        assert caught.value.__cause__ is None


@pytest.mark.parametrize("work", WORK.values(), ids=WORK)
def test_throttled_says_for_how_long(work: Callable[[Stores], object]) -> None:
    headers = {"Retry-After": "1", "x-ms-error-code": "ServerBusy"}
    with answering(503, headers) as account, stores_at(account) as stores:
        with pytest.raises(Throttled) as caught:
            work(stores)
        assert caught.value.retry_after == 1


@pytest.mark.parametrize("work", WORK.values(), ids=WORK)
def test_nobody_there(work: Callable[[Stores], object]) -> None:
    with stores_at(at(free_ports(1)[0])) as stores, pytest.raises(ServiceUnavailable, match="MAIL_STORAGE"):
        work(stores)
