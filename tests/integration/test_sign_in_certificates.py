"""Sign-in by certificate: every format and every error."""

from __future__ import annotations

import base64
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from shared.config import MailboxSettings
from shared.errors import (
    AuthenticationError,
    ConfigurationError,
    MailroomError,
)
from shared.mailboxes.oauth.token_cache import TokenCache
from tests.servers.authority import App, Authority
from tests.servers.certificates import application, self_signed
from tests.servers.settings import mailbox_settings, oauth

ADDRESS = "support@example.com"


def with_certificate(authority: Authority, ca_file: Path, app: App, **options: object) -> MailboxSettings:
    return oauth(mailbox_settings(), authority, app, ca_file, certificate=None, **options)


@pytest.mark.parametrize("password", [None, "pf x pässword"])
@pytest.mark.parametrize("form", ["pem", "pfx", "pem file", "pfx file", "pem on one line"])
def test_1_4_certificates_in_every_form(
    authority: Authority, ca_file: Path, tmp_path: Path, form: str, password: str | None
) -> None:
    pair = application()
    secret = password.encode() if password else None
    app = authority.register(ADDRESS, certificate=pair)
    data = pair.pfx(secret) if "pfx" in form else self_signed().certificate_pem + pair.pem(secret)
    options: dict[str, object] = {"certificate_password": SecretStr(password) if password else None}
    if form.endswith("file"):
        path = tmp_path / "app.any"
        path.write_bytes(data)
        options["certificate_file"] = path
        changes = with_certificate(authority, ca_file, app, **options)
    else:
        text = base64.b64encode(data).decode() if form == "pfx" else data.decode()
        text = text.replace("\n", "\\n") if form == "pem on one line" else text
        changes = oauth(mailbox_settings(), authority, app, ca_file, certificate=SecretStr(text), **options)
    assert TokenCache(authority.url).token(changes) == authority.issued[0]


CERTIFICATE_ERRORS = [
    ("no certificate", ConfigurationError, "CERTIFICATE: is neither PEM nor a PFX"),
    ("cut PEM", ConfigurationError, "CERTIFICATE: "),
    ("no key", ConfigurationError, "CERTIFICATE: the PEM contains no private key"),
    ("key alone", ConfigurationError, "CERTIFICATE: the PEM contains no certificate"),
    ("another's key", ConfigurationError, "CERTIFICATE: none of its certificates belongs to its private key"),
    ("wrong password", ConfigurationError, "MAILBOXES__support__CERTIFICATE_PASSWORD"),
    ("wrong password, PFX", ConfigurationError, "MAILBOXES__support__CERTIFICATE_PASSWORD"),
    ("no password", ConfigurationError, "MAILBOXES__support__CERTIFICATE_PASSWORD"),
    ("elliptic", ConfigurationError, "CERTIFICATE: its private key is not an RSA key"),
    ("expired", AuthenticationError, "CERTIFICATE: expired on 20"),
    ("not yet valid", AuthenticationError, "CERTIFICATE: not valid until 20"),
    ("of another app", AuthenticationError, "AADSTS700027"),
]


@pytest.mark.parametrize(("case", "kind", "expected"), CERTIFICATE_ERRORS)
def test_1_4_certificate_errors_name_the_setting(
    authority: Authority, ca_file: Path, case: str, kind: type[MailroomError], expected: str
) -> None:
    pair, other = application(), application()
    app = authority.register(ADDRESS, certificate=pair)
    hour = timedelta(hours=1)
    texts: dict[str, bytes] = {
        "no certificate": b"what is this?",
        "cut PEM": pair.pem()[:300] + b"\n-----END PRIVATE KEY-----\n" + pair.certificate_pem,
        "no key": pair.certificate_pem,
        "key alone": pair.key_pem,
        "another's key": other.key_pem + pair.certificate_pem,
        "wrong password": pair.pem(b"right-pw"),
        "wrong password, PFX": base64.b64encode(pair.pfx(b"right-pw")),
        "no password": pair.pem(b"right-pw"),
        "elliptic": self_signed().pem(),
        "expired": application(start=-20 * hour, end=-hour).pem(),
        "not yet valid": application(start=hour, end=20 * hour).pem(),
        "of another app": other.pem(),
    }
    password = SecretStr("wr0ng-pw") if "wrong password" in case else None
    changes = oauth(
        mailbox_settings(),
        authority,
        app,
        ca_file,
        certificate=SecretStr(texts[case].decode()),
        certificate_password=password,
    )
    with pytest.raises(kind) as caught:
        TokenCache(authority.url).token(changes)
    text = str(caught.value)
    assert expected in text
    assert "wr0ng-pw" not in text
    assert "PRIVATE KEY-----" not in text
    assert caught.value.__cause__ is caught.value.__context__ is None


def test_a_changed_certificate_file_is_read_again(authority: Authority, ca_file: Path, tmp_path: Path) -> None:
    pair, other = application(), application()
    app = authority.register(ADDRESS, certificate=pair)
    path = tmp_path / "app.pem"
    path.write_bytes(other.pem())
    changes = with_certificate(authority, ca_file, app, certificate_file=path)
    tokens = TokenCache(authority.url)
    with pytest.raises(AuthenticationError, match="CERTIFICATE_FILE"):
        tokens.token(changes)
    path.write_bytes(pair.pem() + b"\n")
    assert tokens.token(changes) == authority.issued[0]
    path.unlink()
    with pytest.raises(ConfigurationError, match="CERTIFICATE_FILE"):
        tokens.token(changes)
