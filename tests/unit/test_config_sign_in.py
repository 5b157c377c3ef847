"""The sign-in to a mailbox: how it is determined, and missing and contradicting credentials."""

from __future__ import annotations

import base64
import time
from dataclasses import replace
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.hazmat.primitives.serialization.pkcs12 import serialize_key_and_certificates
from pydantic import SecretStr

from shared.config import MailboxSettings, MailProtocol, SignIn
from tests.unit.test_config import SALES, mailbox, read, support_errors

OAUTH = {"PASSWORD": "", "TENANT_ID": "example.onmicrosoft.com", "CLIENT_ID": "0f8fad5b-d9cb-469f-a165-70867728950e"}
SECRET = {**OAUTH, "CLIENT_SECRET": "hush-secret"}


def support(**settings: str) -> MailboxSettings:
    result = read(mailbox("support", **settings), SALES)
    assert result.mailbox_errors == {}
    return result.mailboxes["support"]


class Identity:
    """A certificate and its key, in every form that the settings accept."""

    def __init__(self) -> None:
        issued = trustme.CA().issue_cert("app.example.com")
        key = load_pem_private_key(issued.private_key_pem.bytes(), None)
        certificate = x509.load_pem_x509_certificate(issued.cert_chain_pems[0].bytes())
        self.certificate = issued.cert_chain_pems[0].bytes().decode()
        self.key = issued.private_key_pem.bytes().decode()
        self.pem = self.certificate + self.key
        self.locked_pem = (
            self.certificate
            + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"locked")).decode()
        )
        self.pfx = serialize_key_and_certificates(b"app", key, certificate, None, NoEncryption())  # type: ignore[arg-type]  # an EC key is taken
        self.locked_pfx = serialize_key_and_certificates(  # the same
            b"app",
            key,  # type: ignore[arg-type]  # an EC key is taken
            certificate,
            None,
            BestAvailableEncryption(b"locked"),
        )


@pytest.fixture(scope="module")
def identity() -> Identity:
    return Identity()


def test_1_4_a_password_signs_in_with_the_address_or_the_username() -> None:
    result = support()
    assert result.sign_in is SignIn.PASSWORD
    assert result.login == "support@example.com"
    assert support(USERNAME="sup").login == "sup"


def test_1_4_a_secret_is_kept_as_it_is() -> None:
    for text in (" spaces ", '{"a": 1}', "12345", "null", '"quoted"', "a;b", "€"):
        password = support(PASSWORD=text).password
        assert password is not None
        assert password.get_secret_value() == text


def test_1_4_a_client_secret_determines_the_sign_in() -> None:
    result = support(**SECRET)
    assert result.sign_in is SignIn.CLIENT_SECRET
    assert (result.tenant_id, result.client_id) == (OAUTH["TENANT_ID"], OAUTH["CLIENT_ID"])
    assert support(**SECRET, SIGN_IN="Client-Secret") == result


def test_1_4_a_certificate_in_every_form(identity: Identity, tmp_path: Path) -> None:
    pfx, locked_pfx = (base64.b64encode(data).decode() for data in (identity.pfx, identity.locked_pfx))
    for text, password in (
        (identity.pem, ""),
        (identity.key + identity.certificate, ""),
        (identity.pem.replace("\n", r"\n"), ""),
        (identity.locked_pem, "locked"),
        (pfx, ""),
        (pfx[:70] + "\n" + pfx[70:] + "\n", ""),
        (locked_pfx, "locked"),
    ):
        result = support(**OAUTH, CERTIFICATE=text, CERTIFICATE_PASSWORD=password)
        assert result.sign_in is SignIn.CERTIFICATE
        assert result.certificate is not None
        assert r"\n" not in result.certificate.get_secret_value()
    for number, data in enumerate((identity.pem.encode(), identity.pfx)):
        path = tmp_path / f"{number}.bin"
        path.write_bytes(data)
        result = support(**OAUTH, CERTIFICATE_FILE=str(path))
        assert (result.sign_in, result.certificate_file) == (SignIn.CERTIFICATE, path)


def test_1_4_a_certificate_that_cannot_be_used(identity: Identity, tmp_path: Path) -> None:
    pfx, locked_pfx = (base64.b64encode(data).decode() for data in (identity.pfx, identity.locked_pfx))
    for text, password, words in (
        ("not base64!", "", "is neither PEM nor PFX in base64"),
        (base64.b64encode(b"nothing").decode(), "", "cannot be opened as PFX"),
        (identity.certificate, "", "has no private key that can be opened"),
        (identity.key, "", "has no certificate in PEM"),
        (identity.pem, "locked", "is not encrypted; remove CERTIFICATE_PASSWORD"),
        (identity.locked_pem, "", "set CERTIFICATE_PASSWORD"),
        (identity.locked_pem, "wrong", "check it, and CERTIFICATE_PASSWORD"),
        (locked_pfx, "", "check it, and CERTIFICATE_PASSWORD"),
        (locked_pfx, "wrong", "check it, and CERTIFICATE_PASSWORD"),
        (pfx[: len(pfx) // 8 * 4], "", "check it, and CERTIFICATE_PASSWORD"),
    ):
        (error,) = support_errors(**OAUTH, CERTIFICATE=text, CERTIFICATE_PASSWORD=password)
        assert error.startswith("MAILBOXES__support__CERTIFICATE: ")
        assert words in error
    (error,) = support_errors(**OAUTH, CERTIFICATE_FILE=str(tmp_path / "none.pem"))
    assert error.startswith("MAILBOXES__support__CERTIFICATE_FILE: names a file that does not exist")
    (tmp_path / "bad.pem").write_text("nothing")
    (error,) = support_errors(**OAUTH, CERTIFICATE_FILE=str(tmp_path / "bad.pem"))
    assert error.startswith("MAILBOXES__support__CERTIFICATE_FILE: cannot be opened")


@pytest.mark.parametrize(
    ("settings", "about"),
    [
        ({"PASSWORD": ""}, ["PASSWORD: is not set; set it, or TENANT_ID"]),
        ({"PASSWORD": "", "SIGN_IN": "password"}, ["PASSWORD: is not set"]),
        (OAUTH, ["SIGN_IN: cannot be determined; set CLIENT_SECRET, or CERTIFICATE"]),
        ({**SECRET, "TENANT_ID": ""}, ["TENANT_ID: is not set"]),
        ({**SECRET, "CLIENT_ID": "", "TENANT_ID": ""}, ["TENANT_ID: is not set", "CLIENT_ID: is not set"]),
        ({**OAUTH, "SIGN_IN": "client-secret"}, ["CLIENT_SECRET: is not set"]),
        ({**OAUTH, "SIGN_IN": "certificate"}, ["CERTIFICATE: is not set"]),
        ({**SECRET, "PASSWORD": "x"}, ["SIGN_IN: cannot be determined, since PASSWORD and CLIENT_SECRET are set"]),
        ({"TENANT_ID": "t", "CLIENT_ID": "c"}, ["CLIENT_ID: is not used", "TENANT_ID: is not used"]),
        ({"CERTIFICATE_PASSWORD": "x"}, ["CERTIFICATE_PASSWORD: is not used when signing in with a password"]),
        ({**SECRET, "PASSWORD": "x", "SIGN_IN": "client-secret"}, ["PASSWORD: is not used"]),
        ({**SECRET, "USERNAME": "sup"}, ["USERNAME: is not used when signing in with a client secret; remove it"]),
        ({**SECRET, "TENANT_ID": "a/b"}, ["TENANT_ID: the value is not an id"]),
        (
            {"SIGN_IN": "oauth"},
            ["SIGN_IN: the value is not known; use password, client-secret, certificate or managed-identity"],
        ),
    ],
)
def test_1_4_missing_and_contradicting_credentials(settings: dict[str, str], about: list[str]) -> None:
    result = sorted(error.removeprefix("MAILBOXES__support__") for error in support_errors(**settings))
    assert len(result) == len(about)
    for error, words in zip(result, sorted(about), strict=True):
        assert error.startswith(words)


def test_1_4_two_certificates_are_refused(identity: Identity, tmp_path: Path) -> None:
    path = tmp_path / "app.pem"
    path.write_text(identity.pem)
    (error,) = support_errors(**OAUTH, CERTIFICATE=identity.pem, CERTIFICATE_FILE=str(path))
    assert "remove one of the two" in error


def test_1_5_a_shared_mailbox_with_a_password() -> None:
    result = support(SHARED_MAILBOX="Team@Example.com")
    assert result.login == r"support@example.com\team@example.com"
    assert result.mailbox_address == "team@example.com"
    result = support(SHARED_MAILBOX="Team", USERNAME=r"CORP\{shared}")
    assert result.login == r"CORP\{shared}\Team"
    assert result.mailbox_address == "support@example.com"
    assert support(SHARED_MAILBOX="Team", SHARED_LOGIN="{shared}*{username}", USERNAME="svc").login == "Team*svc"


def test_1_5_a_shared_mailbox_with_oauth_is_an_address() -> None:
    assert support(**SECRET, SHARED_MAILBOX="team@example.com").mailbox_address == "team@example.com"
    (error,) = support_errors(**SECRET, SHARED_MAILBOX="team")
    assert error.startswith("MAILBOXES__support__SHARED_MAILBOX: team is not an address")


@pytest.mark.parametrize("template", ["{username}", "shared", "{shared}{user}", "{0}{shared}"])
def test_1_5_the_login_template_is_checked(template: str) -> None:
    (error,) = support_errors(SHARED_MAILBOX="team", SHARED_LOGIN=template)
    assert "write it with {username} and {shared}" in error


def test_1_5_a_login_template_that_is_not_used_is_refused() -> None:
    (error,) = support_errors(SHARED_LOGIN="{shared}*{username}")
    assert "is not used without SHARED_MAILBOX" in error
    (error,) = support_errors(**SECRET, SHARED_MAILBOX="team@example.com", SHARED_LOGIN="{shared}*{username}")
    assert "is not used with OAuth" in error


BASE = MailboxSettings(
    name="support",
    protocol=MailProtocol.IMAP,
    address="support@example.com",
    host="imap.example.com",
    port=993,
    password=SecretStr("correct-horse"),
)


def test_1_9_the_fingerprint_changes_only_with_the_sign_in() -> None:
    first = BASE.sign_in_fingerprint
    assert len(first) == 16
    assert int(first, 16) >= 0
    assert replace(BASE).sign_in_fingerprint == first
    assert replace(BASE, folders=("A",), poll_every=5, enabled=False, disable_after=1).sign_in_fingerprint == first
    changed = [
        replace(BASE, password=SecretStr("correct-horsf")),
        replace(BASE, password=None, client_secret=SecretStr("correct-horse")),
        replace(BASE, username="sup"),
        replace(BASE, host="imap.example.org"),
        replace(BASE, port=994),
        replace(BASE, shared_mailbox="team"),
        replace(BASE, tenant_id="t"),
        replace(BASE, client_id="t"),
        replace(BASE, name="other"),
    ]
    assert len({first, *(item.sign_in_fingerprint for item in changed)}) == len(changed) + 1


def test_1_9_a_renewed_certificate_file_changes_the_fingerprint(tmp_path: Path) -> None:
    path = tmp_path / "app.pem"
    with_file = replace(BASE, certificate_file=path)
    prints = {with_file.sign_in_fingerprint}
    for text in ("one", "two"):
        path.write_text(text)
        prints.add(with_file.sign_in_fingerprint)
    assert len(prints) == 3


def test_the_fingerprint_is_slow_to_guess_and_computed_once() -> None:
    one = replace(BASE, password=SecretStr(f"never seen {time.time_ns()}"))
    start = time.thread_time()
    one.sign_in_fingerprint  # noqa: B018  computed for its duration
    first = time.thread_time() - start
    start = time.thread_time()
    for _ in range(100):
        replace(one).sign_in_fingerprint  # noqa: B018  likewise
    assert (time.thread_time() - start) / 100 < first
