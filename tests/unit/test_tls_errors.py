"""Every exception of `socket` and `ssl` while connecting is mapped to an error that names what to check."""

from __future__ import annotations

import errno
import socket
import ssl

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from shared.errors import ConnectFailed, ConnectionLost, MailboxError, TlsRefused
from shared.mailboxes.tls import _parse_certificate, connecting, connection_error, peer_certificate
from tests.servers.certificates import Ca
from tests.servers.settings import mailbox_settings

SETTINGS = mailbox_settings(host="mx.example.com", port=995)


def verification(code: int) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = code, f"message {code}"
    return error


def errors() -> list[OSError | EOFError | UnicodeError]:
    kinds: list[type[OSError]] = [OSError]
    for kind in kinds:
        kinds += [
            subclass
            for subclass in kind.__subclasses__()
            if subclass.__module__ in ("builtins", "ssl", "socket", "_ssl")
        ]
    kinds = [kind for kind in dict.fromkeys(kinds) if kind is not ssl.SSLCertVerificationError]
    errors: list[OSError | EOFError | UnicodeError] = [kind(5, "what the system says") for kind in kinds]
    return [*errors, EOFError(), UnicodeError("label too long"), OSError(errno.EINVAL, "no"), OSError()]


@pytest.mark.parametrize("error", errors(), ids=lambda error: type(error).__name__)
def test_every_error_is_mapped_and_names_mailbox_and_server(error: OSError | EOFError | UnicodeError) -> None:
    with pytest.raises(MailboxError) as caught, connecting(SETTINGS):
        raise error
    assert "mailbox support" in str(caught.value)
    assert "mx.example.com:995" in str(caught.value)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ssl.SSLError(1, "x"), TlsRefused),
        (ssl.SSLEOFError(8, "x"), ConnectFailed),
        (ConnectionResetError(104, "x"), ConnectFailed),
        (TimeoutError("x"), ConnectFailed),
        (socket.gaierror(-2, "x"), ConnectFailed),
    ],
)
def test_error_classes(error: OSError, kind: type[MailboxError]) -> None:
    assert type(connection_error(SETTINGS, error)) is kind


def test_own_errors_pass_unchanged() -> None:
    error = ConnectionLost("as it is")
    with pytest.raises(ConnectionLost) as caught, connecting(SETTINGS):
        raise error
    assert caught.value is error


@pytest.mark.parametrize("code", [*range(1, 100), 0, -1])
def test_1_2_every_certificate_error_is_a_refusal(code: int) -> None:
    """This holds whether or not the certificate itself was recorded."""
    raised = connection_error(SETTINGS, verification(code))
    assert isinstance(raised, TlsRefused)
    assert "certificate" in str(raised)


@pytest.mark.parametrize("context", [b"", b"\x00"])
def test_the_certificate_is_parsed_from_both_tls_versions(ca: Ca, context: bytes) -> None:
    der = ca.server("a.example", "127.0.0.1").certificate.public_bytes(Encoding.DER)
    chain = len(der).to_bytes(3, "big") + der + (b"\x00\x00" if context else b"")
    body = context + len(chain).to_bytes(3, "big") + chain
    peer = _parse_certificate(b"\x0b" + len(body).to_bytes(3, "big") + body)
    assert peer.names == ("a.example", "127.0.0.1")
    assert peer.issuer == "CN=Mailroom Test CA"


def test_without_a_handshake_there_is_no_peer_certificate() -> None:
    assert peer_certificate() is None
