"""Mailbox settings for tests, as the loader would return them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from shared.config import MailboxSettings, MailProtocol, SignIn, Tls
from tests.servers.authority import App, Authority
from tests.servers.dovecot import Dovecot, User


def mailbox_settings(**changes: Any) -> MailboxSettings:
    """Return a POP3 mailbox on this machine, with `changes`."""
    fields: dict[str, Any] = {
        "name": "support",
        "protocol": MailProtocol.POP3,
        "address": "support@example.com",
        "host": "localhost",
        "port": 1,
        "tls": Tls.NONE,
        "password": SecretStr("s3cret-pw"),
    }
    return MailboxSettings(**(fields | changes))


def pop3_settings(dovecot: Dovecot, user: User, **changes: Any) -> MailboxSettings:
    """Return a POP3 mailbox of a Dovecot user, with implicit TLS, a password and `changes`."""
    fields: dict[str, Any] = {
        "address": user.address,
        "port": dovecot.pop3s,
        "tls": Tls.IMPLICIT,
        "ca_file": dovecot.ca_file,
        "password": SecretStr(user.password),
    }
    return mailbox_settings(**(fields | changes))


def oauth(settings: MailboxSettings, authority: Authority, app: App, ca_file: Path, **changes: Any) -> MailboxSettings:
    """Return the mailbox with sign-in by the secret or the certificate of an app registration."""
    fields: dict[str, Any] = {
        "password": None,
        "ca_file": ca_file,
        "tenant_id": authority.tenant,
        "client_id": app.client_id,
        "sign_in": SignIn.CERTIFICATE if app.certificate else SignIn.CLIENT_SECRET,
        "client_secret": SecretStr(app.secret) if app.secret else None,
        "certificate": SecretStr(app.certificate.pem().decode()) if app.certificate else None,
    }
    return replace(settings, **(fields | changes))
