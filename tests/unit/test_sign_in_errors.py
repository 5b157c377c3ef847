"""Every exception of MSAL, requests and cryptography at a sign-in is mapped to an error without its text."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from typing import Any

import msal
import pytest
import requests
from cryptography.exceptions import UnsupportedAlgorithm

from shared.config import SignIn
from shared.errors import (
    AuthenticationError,
    ConfigurationError,
    ConnectFailed,
    MailroomError,
    ServiceUnavailable,
    TlsRefused,
)
from shared.mailboxes.oauth.http_session import InvalidTokenResponse
from shared.mailboxes.oauth.msal_client import TRANSIENT, authentication_error, token_error
from shared.mailboxes.oauth.token_cache import xoauth2
from tests.servers.settings import mailbox_settings

SECRET = "s3cret in the text"
SETTINGS = mailbox_settings(sign_in=SignIn.CLIENT_SECRET, tenant_id="t", client_id="c")


def raised() -> Iterator[Exception]:
    for module in (msal.exceptions, requests.exceptions):
        for _, kind in inspect.getmembers(module, inspect.isclass):
            if not issubclass(kind, Exception) or issubclass(kind, Warning):
                continue
            if issubclass(kind, msal.exceptions.MsalServiceError):
                service: Any = kind
                yield service(SECRET, error=SECRET, error_description=SECRET)
            elif issubclass(kind, json.JSONDecodeError):
                yield kind(SECRET, SECRET, 0)
            else:
                yield kind(SECRET)
    yield from (InvalidTokenResponse(status) for status in (200, 404, 429, 500, 503))
    yield from (kind(SECRET) for kind in (ValueError, KeyError, TypeError, RuntimeError, OSError, UnsupportedAlgorithm))


@pytest.mark.parametrize("error", list(raised()), ids=lambda error: type(error).__name__)
def test_every_exception_is_mapped_without_its_text(error: Exception) -> None:
    mapped = token_error(error, SETTINGS, "https://login.example")
    assert isinstance(mapped, MailroomError)
    assert "mailbox support" in str(mapped)
    assert SECRET not in str(mapped)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (requests.exceptions.SSLError("x"), TlsRefused),
        (requests.exceptions.ConnectTimeout("x"), ServiceUnavailable),
        (requests.exceptions.ReadTimeout("x"), ServiceUnavailable),
        (requests.exceptions.ConnectionError("x"), ConnectFailed),
        (requests.exceptions.ProxyError("x"), ConnectFailed),
        (requests.exceptions.InvalidURL("x"), ConfigurationError),
        (requests.exceptions.ChunkedEncodingError("x"), ServiceUnavailable),
        (ValueError("x"), AuthenticationError),
    ],
)
def test_error_classes(error: Exception, kind: type[MailroomError]) -> None:
    assert type(token_error(error, SETTINGS, "https://login.example")) is kind


def test_own_errors_pass_unchanged() -> None:
    error = ConfigurationError("as it is")
    assert token_error(error, SETTINGS, "https://login.example") is error


@pytest.mark.parametrize("name", sorted(TRANSIENT))
def test_transient_errors_are_not_refusals(name: str) -> None:
    assert isinstance(authentication_error({"error": name}, SETTINGS), ServiceUnavailable)


@pytest.mark.parametrize(
    "name",
    [
        *("invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type"),
        *("invalid_scope", "invalid_resource", "interaction_required", "access_denied", ""),
    ],
)
def test_every_other_error_is_a_refusal(name: str) -> None:
    assert isinstance(authentication_error({"error": name}, SETTINGS), AuthenticationError)


@pytest.mark.parametrize(
    "answer", [{}, {"error": 7, "error_codes": ["x"]}, {"error": None, "error_description": None, "error_codes": None}]
)
def test_malformed_errors_are_refusals(answer: dict[str, object]) -> None:
    assert isinstance(authentication_error(answer, SETTINGS), AuthenticationError)


def test_1_5_xoauth2_response() -> None:
    assert xoauth2("me@example.com", "t0k") == b"user=me@example.com\x01auth=Bearer t0k\x01\x01"
