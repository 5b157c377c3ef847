"""A port of another protocol, or of another kind of TLS: the error names the server's protocol and the setting."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import pytest

import shared.mailboxes.greeting
from shared.config import MailboxSettings, MailProtocol, Tls
from shared.errors import ConnectFailed, MailboxError, TlsRefused
from shared.mailboxes.base import Mailbox
from shared.mailboxes.imap.mailbox import ImapMailbox
from shared.mailboxes.pop3.mailbox import Pop3Mailbox
from tests.integration.imap_support import Peer as ImapPeer
from tests.integration.imap_support import ScriptedImap, settings_for
from tests.integration.pop3_support import no_token
from tests.servers.dovecot import Dovecot
from tests.servers.scripted import Peer, Scripted, ScriptedPop3
from tests.servers.settings import mailbox_settings

OPEN: dict[MailProtocol, Callable[[MailboxSettings], Mailbox]] = {
    MailProtocol.IMAP: lambda settings: ImapMailbox(settings, no_token),
    MailProtocol.POP3: lambda settings: Pop3Mailbox(settings, no_token),
}
BOTH = (MailProtocol.IMAP, MailProtocol.POP3)
PATIENCE = 0.5
"""Seconds without a greeting after which TLS is tried; users wait longer."""


@pytest.fixture(autouse=True)
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shared.mailboxes.greeting.GREETING_PATIENCE > PATIENCE
    monkeypatch.setattr(shared.mailboxes.greeting, "GREETING_PATIENCE", PATIENCE)


def refusal(settings: MailboxSettings, kind: type[MailboxError]) -> str:
    """Return the error of a mailbox that cannot be opened, and check that it comes within seconds."""
    began = time.monotonic()
    with pytest.raises(kind) as caught:
        OPEN[settings.protocol](settings)
    assert time.monotonic() - began < 8
    text = str(caught.value)
    assert text.startswith("mailbox support")
    assert f"{settings.host}:{settings.port}: " in text
    return text


def dovecot_settings(dovecot: Dovecot, protocol: MailProtocol, port: int, tls: Tls) -> MailboxSettings:
    return settings_for(dovecot, dovecot.user(), protocol=protocol, port=port, tls=tls)


def test_a_pop3_port_for_imap_is_named(dovecot: Dovecot) -> None:
    for port, tls, default in (
        (dovecot.pop3s, Tls.IMPLICIT, 993),
        (dovecot.pop3, Tls.STARTTLS, 143),
        (dovecot.pop3, Tls.NONE, 143),
    ):
        text = refusal(dovecot_settings(dovecot, MailProtocol.IMAP, port, tls), ConnectFailed)
        assert "the server greets as POP3, not as IMAP; set MAILBOXES__support__PROTOCOL=pop3, or " in text
        assert text.endswith(f"MAILBOXES__support__PORT to the server's IMAP port ({default})")


def test_an_imap_port_for_pop3_is_named(dovecot: Dovecot) -> None:
    for port, tls, default in (
        (dovecot.imaps, Tls.IMPLICIT, 995),
        (dovecot.imap, Tls.STARTTLS, 110),
        (dovecot.imap, Tls.NONE, 110),
    ):
        text = refusal(dovecot_settings(dovecot, MailProtocol.POP3, port, tls), ConnectFailed)
        assert "the server greets as IMAP, not as POP3; set MAILBOXES__support__PROTOCOL=imap, or " in text
        assert text.endswith(f"MAILBOXES__support__PORT to the server's POP3 port ({default})")


@pytest.mark.parametrize("protocol", BOTH)
def test_an_smtp_port_is_named(protocol: MailProtocol) -> None:
    def greet(peer: Peer) -> None:
        peer.send(b"220 mx.example.com ESMTP")
        peer.line()

    with Scripted(greet) as server:
        text = refusal(mailbox_settings(protocol=protocol, port=server.port), ConnectFailed)
    assert f"the server greets as SMTP, not as {protocol.upper()}; set MAILBOXES__support__PORT to " in text
    assert "PROTOCOL" not in text


@pytest.mark.parametrize("protocol", BOTH)
@pytest.mark.parametrize("tls", [Tls.STARTTLS, Tls.NONE])
def test_starttls_at_a_port_that_expects_tls_is_noticed(dovecot: Dovecot, protocol: MailProtocol, tls: Tls) -> None:
    port = dovecot.imaps if protocol is MailProtocol.IMAP else dovecot.pop3s
    settings = dovecot_settings(dovecot, protocol, port, tls)
    trusted, untrusted = refusal(settings, TlsRefused), refusal(replace(settings, ca_file=None), TlsRefused)
    for text in (trusted, untrusted):
        assert "the server expects TLS from the start at this port; set MAILBOXES__support__TLS=implicit, or " in text
        assert "MAILBOXES__support__PORT" in text


@pytest.mark.parametrize("protocol", BOTH)
def test_implicit_tls_at_a_port_for_starttls_is_noticed(dovecot: Dovecot, protocol: MailProtocol) -> None:
    port = dovecot.imap if protocol is MailProtocol.IMAP else dovecot.pop3
    text = refusal(dovecot_settings(dovecot, protocol, port, Tls.IMPLICIT), TlsRefused)
    assert "does not begin with TLS at this port; set MAILBOXES__support__TLS=starttls, or " in text
    assert text.endswith(
        "MAILBOXES__support__PORT to the server's TLS port " + ("(993)" if "imap" in protocol else "(995)")
    )


class LatePop3(ScriptedPop3):
    def _converse(self, peer: Peer) -> None:
        time.sleep(2 * PATIENCE)
        super()._converse(peer)


class LateImap(ScriptedImap):
    def _serve(self, peer: ImapPeer) -> None:
        time.sleep(2 * PATIENCE)
        with suppress(AssertionError, AttributeError):  # the second connection sends a TLS handshake, which is not IMAP
            super()._serve(peer)
        peer.stream.close()
        peer.sock.close()


def test_a_server_that_greets_late_is_used() -> None:
    """A server may wait before it greets, for instance for a DNS lookup or to deter spammers."""
    with LatePop3([("a", b"Subject: x\r\n\r\n")]) as pop3:
        with Pop3Mailbox(mailbox_settings(port=pop3.port), no_token) as mailbox:
            assert [message.key for message in mailbox.list("INBOX")] == ["a"]
        assert pop3.connections == 2, "the second one tried TLS"
    with LateImap({1: b"x"}) as imap:
        with ImapMailbox(imap.settings(), no_token) as mailbox:
            assert [message.number for message in mailbox.list("INBOX")] == [1]
        assert imap.connections == 2
