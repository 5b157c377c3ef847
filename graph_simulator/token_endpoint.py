"""The token service: the discovery document, and client credentials with a secret."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from graph_simulator.access_tokens import AccessTokens
from graph_simulator.app_registrations import App

DISCOVERY, TOKEN = "/v2.0/.well-known/openid-configuration", "/oauth2/v2.0/token"
DEFAULT = "/.default"

UNKNOWN_TENANT, UNKNOWN_APP, WRONG_GRANT, WRONG_SECRET, NO_SECRET, WRONG_SCOPE = (
    90002,
    700016,
    70003,
    7000215,
    7000218,
    1002012,
)
"""AADSTS error numbers of the Microsoft identity platform."""


class TokenRequestRefused(Exception):
    """An error response of the token service.

    Attributes:
        status: HTTP status.
        body: JSON of the response.
    """

    def __init__(self, status: int, error: str, number: int, text: str) -> None:
        super().__init__(text)
        now = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime())
        trace = "3b9e5a52-0000-4000-8000-000000000000"
        self.status = int(status)
        self.body: dict[str, Any] = {
            "error": error,
            "error_description": f"AADSTS{number}: {text} Trace ID: {trace} Correlation ID: {trace} Timestamp: {now}",
            "error_codes": [number],
            "timestamp": now,
            "trace_id": trace,
            "correlation_id": trace,
            "error_uri": f"https://login.example/error?code={number}",
        }


def discovery(base: str) -> dict[str, Any]:
    """Return the discovery document of the tenant at `base`."""
    return {
        "token_endpoint": base + TOKEN,
        "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
        "device_authorization_endpoint": f"{base}/oauth2/v2.0/devicecode",
        "issuer": f"{base}/v2.0",
    }


def check_tenant(requested: str, tenant: str) -> None:
    """Refuse a request for another tenant.

    Raises:
        TokenRequestRefused: the tenant is not the simulator's.
    """
    if requested.lower() != tenant:
        text = f"Tenant '{requested}' not found. Check to make sure you have the correct tenant ID."
        raise TokenRequestRefused(HTTPStatus.BAD_REQUEST, "invalid_tenant", UNKNOWN_TENANT, text)


def grant_token(
    form: Mapping[str, str], apps: Mapping[str, App], tokens: AccessTokens, lifetime: float
) -> dict[str, Any]:
    """Return the response to a token request.

    Raises:
        TokenRequestRefused: the app, secret, scope or grant type is wrong.
    """
    client_id, scope = form.get("client_id", ""), form.get("scope", "")
    app = apps.get(client_id)
    if app is None:
        text = f"Application with identifier '{client_id}' was not found in the directory."
        raise TokenRequestRefused(HTTPStatus.BAD_REQUEST, "unauthorized_client", UNKNOWN_APP, text)
    if form.get("grant_type") != "client_credentials":
        text = "The app requested an unsupported grant type."
        raise TokenRequestRefused(HTTPStatus.BAD_REQUEST, "unsupported_grant_type", WRONG_GRANT, text)
    _check_secret(form, app)
    if not scope.endswith(DEFAULT) or " " in scope or scope == DEFAULT:
        text = f"The provided value for scope {scope} is not valid. Client credential flows must end in /.default."
        raise TokenRequestRefused(HTTPStatus.BAD_REQUEST, "invalid_scope", WRONG_SCOPE, text)
    token = tokens.issue(app, scope.removesuffix(DEFAULT), lifetime)
    expires_in = int(lifetime)
    return {"token_type": "Bearer", "expires_in": expires_in, "ext_expires_in": expires_in, "access_token": token}


def _check_secret(form: Mapping[str, str], app: App) -> None:
    secret = form.get("client_secret")
    if secret is None:
        text = "The request body must contain the following parameter: 'client_assertion' or 'client_secret'."
        raise TokenRequestRefused(HTTPStatus.UNAUTHORIZED, "invalid_client", NO_SECRET, text)
    if not secrets.compare_digest(secret.encode(), app.secret.encode()):
        text = "Invalid client secret provided. Send the secret's value, not its id."
        raise TokenRequestRefused(HTTPStatus.UNAUTHORIZED, "invalid_client", WRONG_SECRET, text)
