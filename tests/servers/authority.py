"""A simulator of the Microsoft identity platform, for MSAL's client credentials over HTTPS.

It checks tenant, client id, secret or signed assertion, and scope. Its errors have the text and the form of the real
platform's. A test's Dovecot accepts its tokens.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from tests.servers.certificates import Ca, Pair
from tests.servers.dovecot import access_token

SCOPE = "https://outlook.office365.com/.default"
ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
DISCOVERY, TOKEN = "/v2.0/.well-known/openid-configuration", "/oauth2/v2.0/token"


@dataclass
class App:
    """An app registration.

    Attributes:
        client_id: the client id.
        address: the mailbox that its tokens open.
        secret: the client secret; None: the app has a certificate.
        certificate: the certificate; None: the app has a secret.
    """

    client_id: str
    address: str
    secret: str | None = None
    certificate: Pair | None = None


@dataclass
class Answer:
    """A response that the token endpoint sends, regardless of the request."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


class OAuthError(Exception):
    """An OAuth error response."""

    def __init__(self, status: int, error: str, code: int, text: str) -> None:
        super().__init__(text)
        now = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime())
        trace = "0d1f7c6e-0000-4000-8000-000000000000"
        self.status = status
        self.body = {
            "error": error,
            "error_description": f"AADSTS{code}: {text} Trace ID: {trace} Correlation ID: {trace} Timestamp: {now}",
            "error_codes": [code],
            "timestamp": now,
            "trace_id": trace,
            "correlation_id": trace,
            "error_uri": f"https://login.example/error?code={code}",
        }


class Authority:
    """A running token service.

    Attributes:
        url: the value for `SIGN_IN_AUTHORITY`.
        tenant: the id of the only tenant.
        lifetime: seconds until a new token expires; negative: it has already expired.
        told_lifetime: the value of `expires_in`; None: `lifetime`.
        issued: the tokens so far.
        asked: the forms of the token requests so far.
        next_answers: responses to send regardless of the requests.
        scopes: the allowed scopes.
    """

    def __init__(self, certificate: Pair, folder: Path, key: bytes) -> None:
        self.tenant = "11111111-2222-4333-8444-555555555555"
        self.lifetime = 3_600.0
        self.told_lifetime: float | None = None
        self.issued: list[str] = []
        self.asked: list[dict[str, str]] = []
        self.next_answers: list[Answer] = []
        self.scopes = {SCOPE}
        self._key = key
        self._apps: dict[str, App] = {}
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate.write(folder, "authority"))
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"https://localhost:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def register(self, address: str, *, certificate: Pair | None = None) -> App:
        """Register an app that may open a mailbox, with a certificate or, without one, a new secret."""
        secret = None if certificate else f"s3cret~{secrets.token_urlsafe(20)}"
        app = App(f"app-{len(self._apps)}-{secrets.token_hex(4)}", address, secret, certificate)
        self._apps[app.client_id] = app
        return app

    def answer(self, path: str, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        """Return the status and the body of the response to a request."""
        tenant, _, rest = path.lstrip("/").partition("/")
        try:
            self._check_tenant(tenant)
            if "/" + rest == DISCOVERY:
                return 200, self._discovery()
            self.asked.append(form)
            return 200, self._token(form)
        except OAuthError as error:
            return error.status, error.body

    def close(self) -> None:
        """Stop the server."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _discovery(self) -> dict[str, Any]:
        base = f"{self.url}/{self.tenant}"
        return {
            "token_endpoint": base + TOKEN,
            "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
            "device_authorization_endpoint": f"{base}/oauth2/v2.0/devicecode",
            "issuer": f"{base}/v2.0",
        }

    def _check_tenant(self, tenant: str) -> None:
        if tenant != self.tenant:
            raise OAuthError(400, "invalid_tenant", 90002, f"Tenant '{tenant}' not found.")

    def _token(self, form: dict[str, str]) -> dict[str, Any]:
        app = self._apps.get(form.get("client_id", ""))
        if app is None:
            who = form.get("client_id")
            raise OAuthError(400, "unauthorized_client", 700016, f"Application with identifier '{who}' was not found.")
        if form.get("grant_type") != "client_credentials":
            raise OAuthError(400, "unsupported_grant_type", 70003, "The app requested an unsupported grant type.")
        if app.certificate is not None:
            self._check_assertion(app.certificate, app, form)
        elif form.get("client_secret") != app.secret:
            text = (
                "Invalid client secret provided. Ensure the secret being sent is the client secret value, not its ID."
            )
            raise OAuthError(401, "invalid_client", 7000215, text)
        scope = form.get("scope", "")
        if scope not in self.scopes:
            raise OAuthError(
                400, "invalid_scope", 70011, "The provided value for the input parameter 'scope' is not valid."
            )
        claims = {"aud": scope.removesuffix("/.default"), "appid": app.client_id}
        token = access_token(app.address, key=self._key, lifetime=self.lifetime, **claims)
        self.issued.append(token)
        expires_in = self.lifetime if self.told_lifetime is None else self.told_lifetime
        return {
            "token_type": "Bearer",
            "expires_in": int(expires_in),
            "ext_expires_in": int(expires_in),
            "access_token": token,
        }

    def _check_assertion(self, pair: Pair, app: App, form: dict[str, str]) -> None:
        assertion = form.get("client_assertion", "")
        if form.get("client_assertion_type") != ASSERTION or not assertion:
            raise OAuthError(401, "invalid_client", 7000218, "The request body must contain 'client_assertion'.")
        der = pair.certificate.public_bytes(Encoding.DER)
        header = jwt.get_unverified_header(assertion)
        thumbprints = {"x5t": hashlib.sha1(der), "x5t#S256": hashlib.sha256(der)}
        matches = [
            header[name].rstrip("=") == _url_base64(digest.digest())
            for name, digest in thumbprints.items()
            if name in header
        ]
        if not matches or not all(matches):
            raise OAuthError(401, "invalid_client", 700027, "The certificate with that thumbprint is not registered.")
        audience = f"{self.url}/{self.tenant}{TOKEN}"
        try:
            claims = jwt.decode(assertion, pair.public_pem, algorithms=["RS256", "PS256"], audience=audience)
        except jwt.InvalidTokenError as error:
            raise OAuthError(
                401, "invalid_client", 700027, f"Client assertion failed signature validation: {error}"
            ) from None
        if (claims.get("iss"), claims.get("sub")) != (app.client_id, app.client_id):
            raise OAuthError(401, "invalid_client", 700021, "Client assertion application identifier doesn't match.")


def _url_base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _handler(authority: Authority) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._send(*authority.answer(self.path, {}))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            if authority.next_answers:
                answer = authority.next_answers.pop(0)
                self._write(answer.status, answer.body, answer.headers)
                return
            self._send(*authority.answer(self.path, {name: values[0] for name, values in parse_qs(body).items()}))

        def _send(self, status: int, body: dict[str, Any]) -> None:
            self._write(status, json.dumps(body).encode(), {"Content-Type": "application/json; charset=utf-8"})

        def _write(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name in the base class
            pass

    return Handler


@pytest.fixture
def authorities(ca: Ca, tmp_path: Path) -> Iterator[Callable[..., Authority]]:
    """Yield a function that starts token services; `key` signs their tokens, and is the key of a Dovecot."""
    running: list[Authority] = []

    def start(*, key: bytes = b"k" * 32, certificate: Pair | None = None) -> Authority:
        running.append(Authority(certificate or ca.server(), tmp_path / f"authority-{len(running)}", key))
        return running[-1]

    yield start
    for started in running:
        started.close()


@pytest.fixture
def authority(authorities: Callable[..., Authority]) -> Authority:
    """Return a token service whose tokens no Dovecot accepts."""
    return authorities()
