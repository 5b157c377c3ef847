"""Sign-in by OAuth: MSAL with a test token service, and its tokens with a real Dovecot."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr

from shared.config import MailboxSettings, MailProtocol, SignIn, Tls
from shared.errors import (
    AuthenticationError,
    ConfigurationError,
    ConnectFailed,
    MailboxBusy,
    MailroomError,
    ServiceUnavailable,
    Throttled,
    TlsRefused,
)
from shared.mailboxes.factory import open_mailbox
from shared.mailboxes.oauth import token_cache
from shared.mailboxes.oauth.token_cache import TokenCache
from tests.servers.authority import Answer, Authority
from tests.servers.certificates import application, self_signed
from tests.servers.dovecot import Dovecot, free_ports
from tests.servers.mail import plain_mail
from tests.servers.settings import mailbox_settings, oauth, pop3_settings

ADDRESS = "support@example.com"
ASSERTION_START = "eyJ"


@pytest.fixture
def settings(authority: Authority, ca_file: Path) -> MailboxSettings:
    """Return a mailbox that signs in with a client secret."""
    return oauth(mailbox_settings(), authority, authority.register(ADDRESS), ca_file)


def test_1_4_a_token_by_client_secret_is_cached(authority: Authority, settings: MailboxSettings) -> None:
    tokens = TokenCache(authority.url)
    first = tokens.token(settings)
    assert first == tokens.token(settings)
    assert authority.issued == [first]
    assert authority.asked[0]["client_secret"] == settings.client_secret.get_secret_value()  # type: ignore[union-attr]  # the fixture sets it
    assert authority.asked[0]["scope"] == "https://outlook.office365.com/.default"


def test_mailboxes_of_one_app_share_its_token(authority: Authority, settings: MailboxSettings) -> None:
    tokens = TokenCache(authority.url + "/")
    assert tokens.token(settings) == tokens.token(replace(settings, name="sales", address="sales@example.com"))
    assert len(authority.issued) == 1


def test_a_changed_secret_is_used_at_once(authority: Authority, settings: MailboxSettings) -> None:
    tokens = TokenCache(authority.url)
    with pytest.raises(AuthenticationError):
        tokens.token(replace(settings, client_secret=SecretStr("old-secret")))
    assert tokens.token(settings) == authority.issued[0]


def test_1_4_a_token_is_renewed_before_it_expires(authority: Authority, settings: MailboxSettings) -> None:
    tokens = TokenCache(authority.url)
    authority.lifetime = 250.0
    tokens.token(settings)
    time.sleep(1.1)
    tokens.token(settings)
    assert len(authority.issued) == 2


def test_concurrent_threads_share_a_token(authority: Authority, settings: MailboxSettings) -> None:
    tokens = TokenCache(authority.url)
    results: list[str] = []
    threads = [threading.Thread(target=lambda: results.append(tokens.token(settings))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8
    assert set(results) == set(authority.issued)
    assert len(authority.issued) == 1


REFUSALS = [
    ({"client_secret": SecretStr("wr0ng-s3cret")}, "AADSTS7000215", "CLIENT_SECRET"),
    ({"client_id": "nobody"}, "AADSTS700016", "CLIENT_ID"),
    ({"tenant_id": "no-such-tenant"}, "no-such-tenant", "TENANT_ID"),
]


@pytest.mark.parametrize(("change", "expected", "setting"), REFUSALS)
def test_1_4_refusals_name_code_and_setting(
    authority: Authority, settings: MailboxSettings, change: dict[str, object], expected: str, setting: str
) -> None:
    with pytest.raises(AuthenticationError) as caught:
        TokenCache(authority.url).token(replace(settings, **change))  # type: ignore[arg-type]  # fields by name
    text = str(caught.value)
    assert expected in text
    assert f"MAILBOXES__support__{setting}" in text
    assert "wr0ng-s3cret" not in text
    assert "Trace ID" not in text
    assert caught.value.__cause__ is caught.value.__context__ is None


def error(name: str, code: int | None = None, text: str = "") -> bytes:
    body: dict[str, object] = {"error": name, "error_description": text}
    return json.dumps(body | ({"error_codes": [code]} if code else {})).encode()


ANSWERS = [
    (Answer(429, error("too_many"), {"Retry-After": "17"}), Throttled, 17.0),
    (Answer(429, b"", {"Retry-After": "soon"}), Throttled, None),
    (Answer(500, b"<html>oops</html>"), ServiceUnavailable, None),
    (Answer(503, error("temporarily_unavailable"), {"Retry-After": "99999"}), ServiceUnavailable, 3600.0),
    (Answer(400, error("temporarily_unavailable", 90033, "AADSTS90033: A transient error.")), ServiceUnavailable, None),
    (Answer(400, error("invalid_grant", 50196, "AADSTS50196: a loop")), ServiceUnavailable, None),
    (Answer(200, b"<html>a hotel's welcome page</html>"), ConnectFailed, None),
    (Answer(200, b"[1, 2]"), ConnectFailed, None),
    (Answer(404, b"not here"), ConnectFailed, None),
    (Answer(200, b"{}"), AuthenticationError, None),
    (Answer(400, error("invalid_scope", 70011)), AuthenticationError, None),
    (Answer(401, error("something_new")), AuthenticationError, None),
]


@pytest.mark.parametrize(("answer", "kind", "retry_after"), ANSWERS)
def test_responses_of_the_token_service_are_mapped(
    authority: Authority,
    settings: MailboxSettings,
    answer: Answer,
    kind: type[MailroomError],
    retry_after: float | None,
) -> None:
    authority.next_answers = [answer] * 3
    with pytest.raises(kind) as caught:
        TokenCache(authority.url).token(settings)
    assert caught.type is kind
    assert getattr(caught.value, "retry_after", None) == retry_after
    assert caught.value.__cause__ is caught.value.__context__ is None


def test_an_unavailable_token_service_is_retried(authority: Authority, settings: MailboxSettings) -> None:
    tokens = TokenCache(authority.url)
    authority.next_answers = [Answer(503)]
    with pytest.raises(ServiceUnavailable):
        tokens.token(settings)
    assert tokens.token(settings) == authority.issued[0]


def test_an_unreachable_token_service_is_a_failed_connection(settings: MailboxSettings) -> None:
    (port,) = free_ports(1)
    with pytest.raises(ConnectFailed, match="SIGN_IN_AUTHORITY"):
        TokenCache(f"https://localhost:{port}").token(settings)


@pytest.mark.parametrize("address", ["login.example", "http://localhost:1", "https://", "ftp://x", "https://a b/"])
def test_an_invalid_authority_names_the_setting(settings: MailboxSettings, address: str) -> None:
    with pytest.raises(MailroomError, match="SIGN_IN_AUTHORITY"):
        TokenCache(address).token(settings)


def test_1_2_an_untrusted_token_service_receives_no_secret(
    authorities: Callable[..., Authority], ca_file: Path
) -> None:
    authority = authorities(certificate=self_signed())
    settings = oauth(mailbox_settings(), authority, authority.register(ADDRESS), ca_file)
    with pytest.raises(TlsRefused, match="MAILBOXES__support__CA_FILE"):
        TokenCache(authority.url).token(settings)
    assert authority.asked == []


def test_the_environment_may_name_the_ca(
    authority: Authority, settings: MailboxSettings, ca_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without = replace(settings, ca_file=None)
    with pytest.raises(TlsRefused):
        TokenCache(authority.url).token(without)
    for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
        with monkeypatch.context() as patch:
            patch.setenv(name, str(ca_file))
            assert TokenCache(authority.url).token(without) in authority.issued


@pytest.mark.parametrize("missing", ["tenant_id", "client_id", "client_secret"])
def test_missing_settings_are_named(authority: Authority, settings: MailboxSettings, missing: str) -> None:
    with pytest.raises(ConfigurationError, match=f"MAILBOXES__support__{missing.upper()}"):
        TokenCache(authority.url).token(replace(settings, **{missing: None}))  # type: ignore[arg-type]  # a field by name


def test_a_password_sign_in_has_no_token(authority: Authority) -> None:
    with pytest.raises(ConfigurationError, match="SIGN_IN"):
        TokenCache(authority.url).token(mailbox_settings(sign_in=SignIn.PASSWORD))


@pytest.mark.parametrize("by", ["secret", "certificate"])
def test_secrets_are_not_logged(authority: Authority, ca_file: Path, caplog: pytest.LogCaptureFixture, by: str) -> None:
    """The check includes all log output of MSAL, requests and urllib3."""
    caplog.set_level(logging.DEBUG)
    for name in ("msal", "urllib3", "requests"):
        caplog.set_level(logging.DEBUG, logger=name)
    app = authority.register(ADDRESS, certificate=application() if by == "certificate" else None)
    settings = oauth(mailbox_settings(), authority, app, ca_file)
    tokens = TokenCache(authority.url)
    tokens.token(settings)
    tokens.forget(settings)
    secret = app.secret or authority.asked[0]["client_assertion"]
    body = f"what is {secret}, and {authority.issued[0]}?".encode()
    for answer in (Answer(200, body), Answer(400, error("invalid_client", 1, body.decode())), Answer(503, body)):
        authority.next_answers = [answer]
        with pytest.raises(MailroomError) as caught:
            TokenCache(authority.url).token(settings)
        logging.getLogger("test").error("failed", exc_info=caught.value)
    sent = [form["client_assertion"] for form in authority.asked if "client_assertion" in form]
    for hidden in (secret, *authority.issued, *sent):
        assert hidden not in caplog.text
        assert hidden not in repr(settings)
    assert "PRIVATE KEY" not in caplog.text
    assert caplog.text


@pytest.mark.parametrize("by", ["secret", "certificate"])
def test_1_4_a_mailbox_is_opened_with_an_issued_token(
    dovecot: Dovecot, authorities: Callable[..., Authority], ca_file: Path, by: str
) -> None:
    user = dovecot.user()
    user.deliver([plain_mail(1)])
    authority = authorities(key=dovecot.key)
    app = authority.register(user.address, certificate=application() if by == "certificate" else None)
    settings = oauth(pop3_settings(dovecot, user), authority, app, ca_file)
    with open_mailbox(settings, TokenCache(authority.url)) as mailbox:
        assert len(mailbox.list("INBOX")) == 1


def test_1_9_a_throttling_token_service_makes_the_mailbox_busy(
    dovecot: Dovecot, authority: Authority, settings: MailboxSettings, ca_file: Path
) -> None:
    """A mailbox without a token for an hour then raises an alert, as a busy mailbox does."""
    user = dovecot.user()
    pop3 = oauth(pop3_settings(dovecot, user), authority, authority.register(user.address), ca_file)
    for mailbox in (pop3, replace(settings, protocol=MailProtocol.GRAPH, tls=Tls.IMPLICIT)):
        authority.next_answers = [Answer(503, b"", {"Retry-After": "17"})] * 3
        with pytest.raises(MailboxBusy, match=f"mailbox {mailbox.name}: the token service") as caught:
            open_mailbox(mailbox, TokenCache(authority.url))
        assert caught.value.retry_after == 17


def test_1_5_the_shared_mailbox_is_the_user_of_the_token(
    dovecot: Dovecot, authorities: Callable[..., Authority], ca_file: Path
) -> None:
    primary, shared = dovecot.user(), dovecot.user()
    shared.deliver([plain_mail(1)])
    authority = authorities(key=dovecot.key)
    app = authority.register(shared.address)
    plain = pop3_settings(dovecot, primary, shared_mailbox=shared.address)
    with open_mailbox(oauth(plain, authority, app, ca_file), TokenCache(authority.url)) as mailbox:
        assert len(mailbox.list("INBOX")) == 1


def test_8_3_a_refused_cached_token_is_replaced_once(
    dovecot: Dovecot, authorities: Callable[..., Authority], ca_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = dovecot.user()
    authority = authorities(key=dovecot.key)
    settings = oauth(pop3_settings(dovecot, user), authority, authority.register(user.address), ca_file)
    tokens = TokenCache(authority.url)
    # Expired for the mail server, and valid according to the token service.
    authority.lifetime, authority.told_lifetime = -60.0, 3_600.0
    tokens.token(settings)
    with pytest.raises(AuthenticationError):
        open_mailbox(settings, tokens)
    assert len(authority.issued) == 1, "a young token is not replaced"
    tokens.token(settings)
    assert len(authority.issued) == 2, "and not remembered"
    monkeypatch.setattr(token_cache, "MIN_TOKEN_AGE", 0.0)
    authority.lifetime = 3_600.0
    open_mailbox(settings, tokens).close()
    assert len(authority.issued) == 3
