"""The session of the storage SDKs sends what requests sends, and reads the same settings from the environment."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import requests

from graph_simulator import GraphSimulator
from shared.errors import TransientError
from shared.storage.azure.session import StorageSession
from shared.storage.base import QueueName, Table
from shared.storage.factory import open_storage
from shared.storage.location import StorageLocation
from tests.servers.answering import account_at
from tests.servers.certificates import Ca
from tests.servers.recording import recording

TIMEOUT = (5.0, 5.0)


@pytest.fixture
def session() -> Iterator[StorageSession]:
    """Yield a session."""
    with StorageSession(max_idle=4) as opened:
        yield opened


@pytest.mark.parametrize(
    ("method", "path", "data"),
    [
        ("PUT", "/some/mail/a%20b%2Fc?comp=block&blockid=QQ%3D%3D", b"content"),
        ("PUT", "/some/mail/empty", b""),
        ("PUT", "/some/mail/lease?comp=lease", None),
        ("POST", "/some/queue/messages", "<QueueMessage>ü</QueueMessage>"),
        ("POST", "/some/table", b"{}"),
        ("PATCH", "/some/table(PartitionKey='ab',RowKey='cd%27%27')", b"{}"),
        ("GET", "/some/table()?$filter=a%20eq%20%27b%27", None),
        ("HEAD", "/some/mail/x", None),
        ("DELETE", "/some/mail/x", None),
        ("PUT", "/some/mail/from-a-file", io.BytesIO(b"content of a file")),
    ],
)
def test_a_request_is_what_requests_sends(
    session: StorageSession, method: str, path: str, data: bytes | str | io.BytesIO | None
) -> None:
    headers = {"x-ms-date": "Mon, 23 Nov 2026 09:00:00 GMT", "Authorization": "SharedKey some:abc", "accept": "a/b"}
    with recording() as (port, received), requests.Session() as reference:
        for sender in (reference, session):
            if isinstance(data, io.BytesIO):
                data.seek(0)
            response = sender.request(
                method,
                f"http://127.0.0.1:{port}{path}",
                headers=headers,
                data=data,
                timeout=TIMEOUT,
                files=None,
                verify=True,
                cert=None,
                proxies=None,
                allow_redirects=False,
                stream=True,
            )
            assert (response.status_code, response.content) == (201, b"")
    expected, sent = received.requests
    assert sent == expected


def test_a_netrc_file_does_not_replace_the_signature(
    session: StorageSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("default login somebody password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with recording() as (port, received):
        session.request(
            "GET", f"http://127.0.0.1:{port}/", headers={"Authorization": "SharedKey a"}, data=None, timeout=TIMEOUT
        )
    assert ("Authorization", "SharedKey a") in received.requests[0][1]


def test_cookies_are_not_returned(session: StorageSession) -> None:
    with recording(headers={"Set-Cookie": "a=b"}) as (port, received):
        for _ in range(2):
            session.request("GET", f"http://127.0.0.1:{port}/", headers={}, data=None, timeout=TIMEOUT)
    assert [name for _, headers, _ in received.requests for name, _ in headers if name == "Cookie"] == []
    assert received.connections == 1


def test_the_environment_names_proxies(session: StorageSession, monkeypatch: pytest.MonkeyPatch) -> None:
    with recording() as (port, received), recording() as (direct_port, direct):
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        for url in ("http://some.blob.invalid/mail/x?comp=list", f"http://127.0.0.1:{direct_port}/mail/y"):
            for _ in range(2):
                session.request("GET", url, headers={}, data=None, timeout=TIMEOUT)
    assert [line for line, _, _ in received.requests] == ["GET http://some.blob.invalid/mail/x?comp=list HTTP/1.1"] * 2
    assert [line for line, _, _ in direct.requests] == ["GET /mail/y HTTP/1.1"] * 2


def test_the_environment_names_certificate_authorities(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ca = Ca()
    certificate, key = ca.server().write(tmp_path, "server")
    with GraphSimulator(certificate=certificate, key=key) as server:
        url = f"{server.url}/v1.0/"
        with StorageSession(max_idle=4) as session, pytest.raises(requests.exceptions.SSLError):
            session.request("GET", url, headers={}, data=None, timeout=TIMEOUT, verify=True)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(ca.write(tmp_path)))
        with StorageSession(max_idle=4) as session:
            for _ in range(2):
                assert session.request("GET", url, headers={}, data=None, timeout=TIMEOUT, verify=True).status_code


def test_connections_to_more_hosts_than_are_kept(session: StorageSession) -> None:
    with recording() as (port, received):
        for _ in range(2):
            for number in range(2, 14):
                url = f"http://127.0.0.{number}:{port}/"
                with pytest.raises(requests.exceptions.ConnectionError):
                    session.request("GET", url, headers={}, data=None, timeout=TIMEOUT)
            session.request("GET", f"http://127.0.0.1:{port}/", headers={}, data=None, timeout=TIMEOUT)
    assert len(received.requests) == 2


def test_the_clients_of_an_account_share_connections() -> None:
    with recording() as (port, received):
        location = StorageLocation.parse(account_at(port), setting="TEST_STORAGE")
        storage = open_storage(location, location, "mail")
        for table in Table:
            with suppress(TransientError):  # the server's answer is not that to a transaction
                storage.records.create(table, "ab", {"name": "value"})
        for queue in QueueName:
            with suppress(TransientError):  # the server's answer has no content
                storage.queues[queue].length()
        storage.blobs.create("a/b", b"x", content_type="text/plain")
        storage.close()
    assert len(received.requests) > len(Table) + len(QueueName)
    assert received.connections == 1
