"""Rule 1.2 with real servers: an untrusted server is refused before a secret is sent."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from shared.config import Tls
from shared.errors import ConfigurationError, ConnectFailed, TlsRefused
from shared.mailboxes.pop3.mailbox import Pop3Mailbox
from shared.mailboxes.tls import context_for
from tests.integration.pop3_support import SHORT, no_token, scripted_mailbox
from tests.servers.certificates import Ca, Pair, self_signed
from tests.servers.dovecot import Dovecot, free_ports
from tests.servers.scripted import Peer, Scripted, ScriptedPop3
from tests.servers.settings import mailbox_settings, pop3_settings

WAYS = (Tls.IMPLICIT, Tls.STARTTLS)


def refusal(server: Dovecot, tls: Tls, **changes: object) -> str:
    """Return the error text for an untrusted server, and check that no sign-in was tried."""
    user = server.user()
    port = server.pop3s if tls is Tls.IMPLICIT else server.pop3
    with pytest.raises(TlsRefused) as caught:
        Pop3Mailbox(pop3_settings(server, user, tls=tls, port=port, **changes), no_token)
    text = str(caught.value)
    assert "mailbox support" in text
    assert f":{port}" in text
    assert f"user=<{user.name}>" not in server.log()
    return text


@pytest.fixture(scope="module")
def self_signed_server(dovecots: Callable[..., Dovecot]) -> Dovecot:
    return dovecots(certificate=self_signed())


@pytest.fixture(scope="module")
def expired_server(dovecots: Callable[..., Dovecot], ca: Ca) -> Dovecot:
    return dovecots(certificate=ca.server(start=timedelta(days=-90), end=timedelta(days=-1)))


@pytest.fixture(scope="module")
def early_server(dovecots: Callable[..., Dovecot], ca: Ca) -> Dovecot:
    return dovecots(certificate=ca.server(start=timedelta(days=1), end=timedelta(days=20)))


@pytest.fixture(scope="module")
def other_server(dovecots: Callable[..., Dovecot], ca: Ca) -> Dovecot:
    return dovecots(certificate=ca.server("mail.example.net", "*.example.org"))


@pytest.mark.parametrize("tls", WAYS)
def test_1_2_self_signed_is_refused(self_signed_server: Dovecot, tls: Tls) -> None:
    text = refusal(self_signed_server, tls)
    assert "localhost" in text
    assert "self-signed" in text
    assert "MAILBOXES__support__CA_FILE" in text


@pytest.mark.parametrize("tls", WAYS)
def test_1_2_expired_is_refused(expired_server: Dovecot, tls: Tls) -> None:
    text = refusal(expired_server, tls)
    assert "expired on 20" in text
    assert "UTC" in text


@pytest.mark.parametrize("tls", WAYS)
def test_1_2_not_yet_valid_is_refused(early_server: Dovecot, tls: Tls) -> None:
    assert "not valid yet until 20" in refusal(early_server, tls)


@pytest.mark.parametrize("tls", WAYS)
def test_1_2_another_name_is_refused(other_server: Dovecot, tls: Tls) -> None:
    text = refusal(other_server, tls)
    assert "is for mail.example.net, *.example.org, not for 'localhost'" in text
    assert "MAILBOXES__support__HOST" in text


@pytest.mark.parametrize("tls", WAYS)
def test_1_2_another_address_is_refused(other_server: Dovecot, tls: Tls) -> None:
    assert "not for '127.0.0.1'" in refusal(other_server, tls, host="127.0.0.1")


@pytest.mark.parametrize("tls", WAYS)
def test_1_2_unknown_issuer_is_refused(dovecot: Dovecot, tls: Tls) -> None:
    text = refusal(dovecot, tls, ca_file=None)
    assert "issuer (CN=Mailroom Test CA) is not known" in text
    assert "MAILBOXES__support__CA_FILE" in text


def test_1_2_a_private_ca_is_added_to_the_root_certificates(dovecot: Dovecot) -> None:
    own = context_for(pop3_settings(dovecot, dovecot.user(), ca_file=None)).cert_store_stats()["x509_ca"]
    with_ca = context_for(pop3_settings(dovecot, dovecot.user())).cert_store_stats()["x509_ca"]
    assert with_ca == own + 1


def test_1_2_an_address_in_the_certificate_is_accepted(dovecot: Dovecot) -> None:
    with Pop3Mailbox(pop3_settings(dovecot, dovecot.user(), host="127.0.0.1"), no_token) as mailbox:
        assert mailbox.check_folder("INBOX").messages == 0


def test_1_2_no_setting_disables_verification(dovecot: Dovecot) -> None:
    for changes in ({}, {"allow_plaintext": True}, {"ca_file": None}, {"tls": Tls.STARTTLS}):
        context = context_for(pop3_settings(dovecot, dovecot.user(), **changes))
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.check_hostname
        assert context.minimum_version is ssl.TLSVersion.TLSv1_2


@pytest.fixture
def server_context(ca: Ca, tmp_path: Path) -> ssl.SSLContext:
    return context_of(ca.server(), tmp_path)


def context_of(pair: Pair, folder: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair.write(folder, "scripted"))
    return context


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated:DeprecationWarning")
def test_1_2_tls_1_1_is_refused(server_context: ssl.SSLContext, ca_file: Path) -> None:
    server_context.minimum_version = ssl.TLSVersion.TLSv1_1
    server_context.maximum_version = ssl.TLSVersion.TLSv1_1
    server_context.set_ciphers("ALL:@SECLEVEL=0")
    with ScriptedPop3(context=server_context) as server, pytest.raises(TlsRefused, match=r"TLS 1\.2 or newer"):
        scripted_mailbox(server, host="localhost", tls=Tls.IMPLICIT, ca_file=ca_file)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_1_2_names_are_reported_in_both_tls_versions(
    ca: Ca, ca_file: Path, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    context = context_of(ca.server("a.example.net"), tmp_path)
    context.minimum_version = context.maximum_version = version
    with ScriptedPop3(context=context) as server, pytest.raises(TlsRefused, match=r"for a\.example\.net, not for"):
        scripted_mailbox(server, host="localhost", tls=Tls.IMPLICIT, ca_file=ca_file)


def test_1_2_a_wildcard_certificate_is_accepted(ca: Ca, ca_file: Path, tmp_path: Path) -> None:
    context = context_of(ca.server("*.example.net"), tmp_path)
    settings = mailbox_settings(host="mx.example.net", ca_file=ca_file)
    with Scripted(lambda peer: peer.send(b"hello"), context=context) as server:
        plain = socket.create_connection((server.host, server.port), 5)
        with context_for(settings).wrap_socket(plain, server_hostname=settings.host) as connection:
            assert connection.recv(7) == b"hello\r\n"


def test_1_2_bytes_before_the_handshake_are_discarded(server_context: ssl.SSLContext, ca_file: Path) -> None:
    """Plain text that an attacker appends to the STLS response must not count as received under TLS."""

    def hook(peer: Peer, command: bytes) -> bool:
        if command == b"STLS":
            peer.send(b"+OK begin", b"+OK", b"SASL", b"LOGIN-DELAY 9", b".", b"-ERR injected")
            peer.start_tls(server_context)
            return True
        return False

    with ScriptedPop3([("a", b"Subject: x\r\n\r\n")], hook, capabilities=[b"STLS", b"USER", b"UIDL"]) as server:
        mailbox = scripted_mailbox(server, host="localhost", tls=Tls.STARTTLS, ca_file=ca_file)
        assert [m.key for m in mailbox.list("INBOX")] == ["a"]
        mailbox.close()
        assert server.commands[:4] == [b"CAPA", b"STLS", b"CAPA", b"USER support@example.com"]


def test_1_2_after_refused_stls_no_password_is_sent(ca_file: Path) -> None:
    def hook(peer: Peer, command: bytes) -> bool:
        if command == b"STLS":
            peer.send(b"-ERR not today")
            return True
        return False

    with ScriptedPop3([], hook, capabilities=[b"STLS", b"USER"]) as server:
        with pytest.raises(TlsRefused, match="not today"):
            scripted_mailbox(server, host="localhost", tls=Tls.STARTTLS, ca_file=ca_file)
        assert server.commands == [b"CAPA", b"STLS"]


def test_1_2_a_port_without_tls_is_reported(dovecot: Dovecot) -> None:
    with pytest.raises(TlsRefused, match="does not begin with TLS at this port"):
        Pop3Mailbox(pop3_settings(dovecot, dovecot.user(), port=dovecot.pop3), no_token)


def test_connection_refused_names_the_settings() -> None:
    (port,) = free_ports(1)
    with pytest.raises(ConnectFailed, match=r"MAILBOXES__support__HOST and MAILBOXES__support__PORT"):
        Pop3Mailbox(mailbox_settings(port=port), no_token)


def test_an_unknown_host_name_names_the_setting() -> None:
    with pytest.raises(ConnectFailed, match="MAILBOXES__support__HOST"):
        Pop3Mailbox(mailbox_settings(host="no-such-host.invalid"), no_token)


@pytest.mark.parametrize("host", ["a" * 70 + ".example", "x..example"])
def test_an_invalid_host_name_is_reported(host: str) -> None:
    with pytest.raises(ConnectFailed):
        Pop3Mailbox(mailbox_settings(host=host), no_token)


@pytest.fixture
def silent() -> Iterator[Scripted]:
    with Scripted(lambda peer: peer.stall()) as server:
        yield server


def test_a_server_that_never_greets_times_out(silent: Scripted) -> None:
    with pytest.raises(ConnectFailed, match="no answer in time"):
        Pop3Mailbox(mailbox_settings(port=silent.port), no_token, timeouts=type(SHORT)(connect=0.3, read=0.3, quit=0.3))


def test_a_handshake_that_stalls_times_out(silent: Scripted) -> None:
    settings = mailbox_settings(port=silent.port, tls=Tls.IMPLICIT)
    with pytest.raises(ConnectFailed, match="no answer in time"):
        Pop3Mailbox(settings, no_token, timeouts=type(SHORT)(connect=0.3, read=0.3, quit=0.3))


def test_an_interrupted_handshake_is_a_failed_connection() -> None:
    with Scripted(lambda peer: peer.cut()) as server, pytest.raises(ConnectFailed):
        scripted_mailbox(server, tls=Tls.IMPLICIT)


@pytest.mark.parametrize(
    ("content", "expected"), [(None, "cannot be read"), (b"nothing", "contains no certificates in PEM form")]
)
def test_an_invalid_ca_file_names_the_setting(tmp_path: Path, content: bytes | None, expected: str) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=f"MAILBOXES__support__CA_FILE.*{expected}"):
        context_for(mailbox_settings(ca_file=path))
