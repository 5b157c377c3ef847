"""The sign-in to a mailbox: how it is determined, and missing and contradicting credentials."""

from __future__ import annotations

import base64
import re
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption
from cryptography.hazmat.primitives.serialization.pkcs12 import serialize_key_and_certificates
from pydantic import SecretStr

from shared.config import MailboxSettings, MailProtocol, SignIn
from shared.config.certificates import load_certificate
from tests.servers.certificates import Pair, application, self_signed
from tests.unit.test_config import SALES, mailbox, read, support_errors

OAUTH = {"PASSWORD": "", "TENANT_ID": "example.onmicrosoft.com", "CLIENT_ID": "0f8fad5b-d9cb-469f-a165-70867728950e"}
SECRET = {**OAUTH, "CLIENT_SECRET": "hush-secret"}


def support(**settings: str) -> MailboxSettings:
    result = read(mailbox("support", **settings), SALES)
    assert result.mailbox_errors == {}
    return result.mailboxes["support"]


NOT_BASE64 = "is neither PEM nor PFX in base64; paste the whole PEM text, or the output of base64 -w0 FILE.pfx"


class Identity:
    """An application's certificate and its key, in every form that the settings accept, and in forms that they refuse.

    Attributes:
        refused: a file's content, CERTIFICATE_PASSWORD and words of the error, by the rule that is broken.
    """

    def __init__(self) -> None:
        pair, other, hour = application(), application(), timedelta(hours=1)
        self.certificate, self.key, self.pem = pair.certificate_pem.decode(), pair.key_pem.decode(), pair.pem().decode()
        self.locked_pem = pair.pem(b"locked").decode()
        self.pfx, self.locked_pfx = pair.pfx(), pair.pfx(b"locked")
        key_alone = serialize_key_and_certificates(None, rsa_key(pair), None, None, NoEncryption())
        mixed = serialize_key_and_certificates(None, rsa_key(other), None, [pair.certificate], NoEncryption())
        cut_key = pair.key_pem[:300] + b"\n-----END PRIVATE KEY-----\n" + pair.certificate_pem
        check = "check it, and CERTIFICATE_PASSWORD"
        not_rsa = "has a private key that is not an RSA key"
        not_its_own = "has no certificate that belongs to its private key"
        self.refused = {
            "neither": (b"nothing", "", "cannot be opened as PFX"),
            "no key": (pair.certificate_pem, "", "has no private key that can be opened"),
            "cut key": (cut_key, "", check),
            "no certificate": (pair.key_pem, "", "has no certificate in PEM"),
            "password of a key that has none": (pair.pem(), "locked", "is not encrypted; remove CERTIFICATE_PASSWORD"),
            "no password": (pair.pem(b"locked"), "", "has a private key that is encrypted; set CERTIFICATE_PASSWORD"),
            "wrong password": (pair.pem(b"locked"), "wrong", check),
            "no password of a PFX": (self.locked_pfx, "", check),
            "wrong password of a PFX": (self.locked_pfx, "wrong", check),
            "cut PFX": (self.pfx[: len(self.pfx) // 2], "", check),
            "PFX without a certificate": (key_alone, "", "has no certificate with its private key"),
            "elliptic": (self_signed().pem(), "", not_rsa),
            "elliptic PFX": (self_signed().pfx(), "", not_rsa),
            "another's key": (other.key_pem + pair.certificate_pem, "", not_its_own),
            "another's key in a PFX": (mixed, "", not_its_own),
            "expired": (application(start=-20 * hour, end=-hour).pem(), "", "expired on 20"),
            "not yet valid": (application(start=hour, end=20 * hour).pem(), "", "not valid until 20"),
        }


def rsa_key(pair: Pair) -> rsa.RSAPrivateKey:
    assert isinstance(pair.key, rsa.RSAPrivateKey)
    return pair.key


def as_text(data: bytes) -> str:
    """Return a certificate's file as the text of CERTIFICATE."""
    return data.decode() if b"-----" in data else base64.b64encode(data).decode()


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
        loaded = load_certificate(result.certificate, result.certificate_password)
        assert loaded.certificate.public_bytes(Encoding.PEM).decode() == identity.certificate
    for number, data in enumerate((identity.pem.encode(), identity.pfx)):
        path = tmp_path / f"{number}.bin"
        path.write_bytes(data)
        result = support(**OAUTH, CERTIFICATE_FILE=str(path))
        assert (result.sign_in, result.certificate_file) == (SignIn.CERTIFICATE, path)


def test_1_4_a_certificate_that_cannot_be_used(identity: Identity, tmp_path: Path) -> None:
    file = tmp_path / "app.any"
    for data, password, words in identity.refused.values():
        file.write_bytes(data)
        for setting, value in (("CERTIFICATE", as_text(data)), ("CERTIFICATE_FILE", str(file))):
            (error,) = support_errors(**OAUTH, **{setting: value}, CERTIFICATE_PASSWORD=password)
            assert error.startswith(f"MAILBOXES__support__{setting}: ")
            assert words in error
            assert not {"locked", "wrong", "BEGIN"} & set(re.findall(r"\w+", error))
    assert support_errors(**OAUTH, CERTIFICATE="not base64!") == (f"MAILBOXES__support__CERTIFICATE: {NOT_BASE64}",)
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


def test_1_4_a_certificate_that_is_not_used_is_not_opened() -> None:
    (error,) = support_errors(**SECRET, SIGN_IN="client-secret", CERTIFICATE="not base64!")
    assert error.startswith("MAILBOXES__support__CERTIFICATE: is not used when signing in with a client secret")


def test_1_4_a_certificate_with_an_invalid_password_is_not_opened(identity: Identity) -> None:
    reference = "@Microsoft.KeyVault(SecretUri=https://v)"
    (error,) = support_errors(**OAUTH, CERTIFICATE=identity.locked_pem, CERTIFICATE_PASSWORD=reference)
    assert error.startswith("MAILBOXES__support__CERTIFICATE_PASSWORD: is a reference that Azure did not resolve")


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
    settings = replace(BASE, password=SecretStr(f"never seen {time.time_ns()}"))
    start = time.thread_time()
    settings.sign_in_fingerprint  # noqa: B018  computed for its duration
    first = time.thread_time() - start
    start = time.thread_time()
    for _ in range(100):
        replace(settings).sign_in_fingerprint  # noqa: B018  likewise
    assert (time.thread_time() - start) / 100 < first
