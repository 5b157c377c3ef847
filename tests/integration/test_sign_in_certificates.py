"""Sign-in by certificate: every format and every error."""

from __future__ import annotations

import base64
import re
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
from tests.unit.test_config_sign_in import NOT_BASE64, Identity, as_text

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


@pytest.fixture(scope="module")
def identity() -> Identity:
    return Identity()


def refusal(authority: Authority, settings: MailboxSettings) -> MailroomError:
    """Return the error of a sign-in, which holds no secret."""
    with pytest.raises(MailroomError) as caught:
        TokenCache(authority.url).token(settings)
    assert caught.value.__cause__ is caught.value.__context__ is None
    assert not {"wrong", "locked"} & set(re.findall(r"\w+", str(caught.value)))
    assert "PRIVATE KEY-----" not in str(caught.value)
    return caught.value


def test_1_4_a_sign_in_refuses_what_the_configuration_refuses(
    authority: Authority, ca_file: Path, tmp_path: Path, identity: Identity
) -> None:
    app = authority.register(ADDRESS, certificate=application())
    file = tmp_path / "app.any"
    for rule, (data, password, words) in identity.refused.items():
        file.write_bytes(data)
        kind = AuthenticationError if rule in ("expired", "not yet valid") else ConfigurationError
        for source in ({"certificate": SecretStr(as_text(data))}, {"certificate": None, "certificate_file": file}):
            options = source | {"certificate_password": SecretStr(password) if password else None}
            error = refusal(authority, oauth(mailbox_settings(), authority, app, ca_file, **options))
            assert type(error) is kind
            assert str(error).startswith(f"MAILBOXES__support__{[*source][-1].upper()}: ")
            assert words in str(error)
    text = SecretStr("not base64!")
    error = refusal(authority, oauth(mailbox_settings(), authority, app, ca_file, certificate=text))
    assert str(error) == f"MAILBOXES__support__CERTIFICATE: {NOT_BASE64}"


def test_1_4_a_certificate_of_another_app_names_the_setting(authority: Authority, ca_file: Path) -> None:
    app = authority.register(ADDRESS, certificate=application())
    other = SecretStr(application().pem().decode())
    error = refusal(authority, oauth(mailbox_settings(), authority, app, ca_file, certificate=other))
    assert isinstance(error, AuthenticationError)
    assert "AADSTS700027" in str(error)


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
