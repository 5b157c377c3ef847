"""Translation of Graph's error responses and of connection errors into Mailroom's errors."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import ssl
from collections.abc import Iterator
from typing import Any

import httpcore
import httpx
import kiota_abstractions
import kiota_http
import msgraph_core
import pytest

from shared.config import MailProtocol, SignIn, Tls
from shared.errors import (
    AccessRefused,
    AuthenticationError,
    ConfigurationError,
    ConnectFailed,
    ConnectionLost,
    FolderMissing,
    MailboxBusy,
    MailboxError,
    MailroomError,
    TlsRefused,
)
from shared.mailboxes.graph.errors import (
    BUSY,
    NO_SUCH_MAILBOX,
    PERMANENTLY_UNREADABLE,
    SYNC_STATE_LOST,
    GraphResponseError,
    graph_error,
)
from tests.servers.settings import mailbox_settings

SECRET = "eyJhbGciOi.s3cret-token.in-the-text"
BOX = mailbox_settings(
    protocol=MailProtocol.GRAPH,
    host="graph.example",
    port=443,
    tls=Tls.IMPLICIT,
    password=None,
    sign_in=SignIn.MANAGED_IDENTITY,
)
SHARED = mailbox_settings(protocol=MailProtocol.GRAPH, shared_mailbox="team@example.com")


def kinds() -> Iterator[type[Exception]]:
    """Yield every exception class of httpx and of the SDK's dependencies."""
    modules = [httpx, httpcore, ssl]
    for package in (kiota_abstractions, kiota_http, msgraph_core):
        names = (translated.name for translated in pkgutil.walk_packages(package.__path__, package.__name__ + "."))
        # Batches need a package that is not installed, and Mailroom does not use them.
        modules += [importlib.import_module(name) for name in names if not name.startswith("msgraph_core.requests")]
    for module in modules:
        for kind in vars(module).values():
            if inspect.isclass(kind) and issubclass(kind, Exception) and not issubclass(kind, Warning):
                yield kind
    yield from (OSError, ConnectionResetError, TimeoutError, ValueError, KeyError, TypeError, RuntimeError, EOFError)


KINDS = sorted(set(kinds()), key=lambda kind: f"{kind.__module__}.{kind.__name__}")


def instance(kind: Any) -> Exception:
    """Return an exception whose text must not be shown."""
    if issubclass(kind, httpx.HTTPStatusError):
        error: Exception = kind(SECRET, request=httpx.Request("GET", "https://x"), response=httpx.Response(500))
    elif issubclass(kind, UnicodeError) and kind is not UnicodeError:
        error = kind("ascii", SECRET.encode(), 0, 1, SECRET)
    elif issubclass(kind, httpx.StreamError) and not inspect.signature(kind.__init__).parameters.get("message"):
        error = kind()
    elif issubclass(kind, json.JSONDecodeError):
        error = kind(SECRET, SECRET, 0)
    else:
        error = kind(SECRET)
    return error


def test_exception_classes_are_found() -> None:
    names = {kind.__name__ for kind in KINDS}
    assert {
        "APIError",
        "ResponseError",
        "ReadError",
        "PoolTimeout",
        "CookieConflict",
        "SSLCertVerificationError",
    } <= names
    assert len(names) > 40


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_every_exception_class_is_translated_without_its_text(kind: type[Exception]) -> None:
    error = graph_error(instance(kind), BOX, "listing INBOX", folder="INBOX")
    assert isinstance(error, MailboxError | MailboxBusy)
    assert str(error).startswith("mailbox support: listing INBOX through Microsoft Graph")
    assert "s3cret" not in str(error)


@pytest.mark.parametrize(
    ("error", "expected", "text"),
    [
        (httpx.ConnectError("x"), ConnectFailed, "graph.example:443 cannot be reached (ConnectError); check GRAPH_E"),
        (httpx.ConnectTimeout("x"), ConnectFailed, "check GRAPH_ENDPOINT and the network"),
        (httpx.ProxyError("x"), ConnectFailed, "check GRAPH_ENDPOINT and the network"),
        (httpx.UnsupportedProtocol("x"), ConnectFailed, "check GRAPH_ENDPOINT"),
        (httpx.InvalidURL("x"), ConnectFailed, "check GRAPH_ENDPOINT"),
        (httpx.ReadTimeout("x"), ConnectionLost, "no response in time"),
        (httpx.WriteTimeout("x"), ConnectionLost, "no response in time"),
        (httpx.PoolTimeout("x"), ConnectionLost, "no response in time"),
        (httpx.ReadError("x"), ConnectionLost, "the connection broke (ReadError)"),
        (httpx.RemoteProtocolError("x"), ConnectionLost, "the connection broke (RemoteProtocolError)"),
        (httpx.DecodingError("x"), ConnectionLost, "the connection broke"),
        (httpx.TooManyRedirects("x"), ConnectionLost, "the connection broke"),
        (httpx.StreamClosed(), ConnectionLost, "the connection broke"),
        (json.JSONDecodeError("x", "x", 0), ConnectionLost, "not Microsoft Graph's; check GRAPH_ENDPOINT"),
        (KeyError("value"), ConnectionLost, "not Microsoft Graph's; check GRAPH_ENDPOINT"),
        (TypeError("x"), ConnectionLost, "not Microsoft Graph's; check GRAPH_ENDPOINT"),
        (RuntimeError("x"), MailboxError, "failed (RuntimeError)"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_an_exception_is_translated(error: Exception, expected: type[MailroomError], text: str) -> None:
    translated = graph_error(error, BOX, "listing INBOX")
    assert type(translated) is expected
    assert text in str(translated)


def test_a_mailroom_error_is_returned_unchanged() -> None:
    for error in (ConfigurationError("as it is"), MailboxBusy("as it is"), AuthenticationError("as it is")):
        assert graph_error(error, BOX, "listing") is error


def unverified() -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = 18, "self-signed certificate"
    return error


@pytest.mark.parametrize(
    "cause", [unverified(), ssl.SSLError(1, "WRONG_VERSION_NUMBER")], ids=lambda value: type(value).__name__
)
@pytest.mark.parametrize("how", ["cause", "context", "deep", "circle"])
def test_1_2_a_tls_error_is_found_in_the_chain_of_causes(cause: ssl.SSLError, how: str) -> None:
    error, between = httpx.ConnectError("x"), httpcore.ConnectError("x")
    if how == "cause":
        error.__cause__ = cause
    elif how == "context":
        error.__context__ = cause
    else:
        error.__cause__, between.__context__ = between, cause
    if how == "circle":
        cause.__context__ = error
    try:
        translated = graph_error(error, BOX, "connecting")
    finally:
        cause.__context__ = None
    assert type(translated) is TlsRefused
    assert "mailbox support" in str(translated)
    assert "graph.example" in str(translated)


def test_a_circular_chain_of_causes_ends() -> None:
    value, other = httpx.ConnectError("x"), OSError("y")
    value.__context__, other.__context__ = other, value
    assert type(graph_error(value, BOX, "connecting")) is ConnectFailed


@pytest.mark.parametrize(
    ("status", "code", "expected", "text"),
    [
        (400, "ErrorInvalidRequest", MailboxError, "refused (ErrorInvalidRequest: its text)"),
        (400, "BadRequest", MailboxError, "refused"),
        (401, "InvalidAuthenticationToken", AuthenticationError, "check SIGN_IN_AUTHORITY and GRAPH_ENDPOINT"),
        (401, "", AuthenticationError, "HTTP 401"),
        (403, "ErrorAccessDenied", AccessRefused, "Mail.ReadWrite for support@example.com"),
        (403, "Authorization_RequestDenied", AccessRefused, "docs/how-to/office365.md"),
        (404, "ErrorItemNotFound", FolderMissing, "the folder 'Orders' does not exist"),
        (404, "", FolderMissing, "HTTP 404"),
        *((404, code, MailboxError, "check MAILBOXES__support__ADDRESS") for code in sorted(NO_SUCH_MAILBOX)),
        (405, "", MailboxError, "refused (HTTP 405"),
        (408, "", MailboxError, "refused (HTTP 408"),
        (409, "ErrorIrresolvableConflict", MailboxError, "refused"),
        (410, "syncStateNotFound", MailboxError, "refused"),
        (412, "", MailboxError, "refused"),
        (413, "", MailboxError, "refused"),
        (423, "", MailboxError, "refused"),
        (429, "ApplicationThrottled", MailboxBusy, "ApplicationThrottled: its text"),
        (500, "ErrorInternalServerError", MailboxError, "refused"),
        (500, "ErrorMimeContentConversionFailed", MailboxError, "refused"),
        (501, "", MailboxError, "refused"),
        (502, "", MailboxBusy, "come back later"),
        (503, "serviceNotAvailable", MailboxBusy, "come back later"),
        (504, "", MailboxBusy, "come back later"),
        (507, "", MailboxError, "refused"),
        (509, "", MailboxError, "refused"),
        (599, "", MailboxError, "refused"),
    ],
)
def test_a_response_error_is_translated(status: int, code: str, expected: type[MailroomError], text: str) -> None:
    translated = graph_error(GraphResponseError(status, code, "its text", 7.0), BOX, "listing Orders", folder="Orders")
    assert type(translated) is expected
    assert str(translated).startswith("mailbox support: listing Orders through Microsoft Graph: ")
    assert text in str(translated)
    assert getattr(translated, "retry_after", None) == (7.0 if status in BUSY else None)


@pytest.mark.parametrize("status", range(400, 600))
def test_every_status_is_translated_and_named(status: int) -> None:
    for folder in (None, "INBOX"):
        translated = graph_error(GraphResponseError(status), BOX, "listing", folder=folder)
        assert isinstance(translated, MailboxError | MailboxBusy)
        assert f"HTTP {status}" in str(translated)


def test_a_missing_item_is_not_a_missing_folder() -> None:
    assert type(graph_error(GraphResponseError(404, "ErrorItemNotFound"), BOX, "removing a message")) is MailboxError


def test_1_5_a_missing_shared_mailbox_is_named_by_its_address() -> None:
    text = str(graph_error(GraphResponseError(404, "ErrorInvalidUser"), SHARED, "listing"))
    assert "the mailbox team@example.com does not exist" in text
    assert "MAILBOXES__support__SHARED_MAILBOX" in text
    assert "team@example.com" in str(graph_error(GraphResponseError(403, "ErrorAccessDenied"), SHARED, "listing"))


def test_8_3_a_response_error_shows_the_state_of_a_message() -> None:
    assert GraphResponseError(404, "ErrorItemNotFound").is_gone
    assert not any(GraphResponseError(404, code).is_gone for code in NO_SUCH_MAILBOX), "the message may well be there"
    assert not GraphResponseError(410, "ErrorItemNotFound").is_gone
    for code in PERMANENTLY_UNREADABLE:
        assert GraphResponseError(500, code).is_permanent
        assert not GraphResponseError(404, code).is_permanent
    assert not GraphResponseError(500, "ErrorInternalServerError").is_permanent
    assert not GraphResponseError(500).is_permanent
    assert GraphResponseError(410).is_state_lost
    assert all(GraphResponseError(400, code).is_state_lost for code in SYNC_STATE_LOST)
    assert not GraphResponseError(400, "BadRequest").is_state_lost
