"""A token that expires during a session (rule 8.3)."""

from __future__ import annotations

import pytest

from shared.config import SignIn
from shared.mailboxes.imap.mailbox import ImapMailbox
from tests.integration.imap_support import Peer, ScriptedImap, drain, in_batches, settings_for
from tests.servers.dovecot import Dovecot
from tests.servers.mail import plain_mail


@pytest.mark.parametrize(
    "death",
    [
        b"* BYE Session invalidated - AccessTokenExpired",
        b"",
        b"%b NO [AUTHENTICATIONFAILED] token is not good",
        b"%b BAD [EXPIRED] the session is over",
    ],
)
def test_8_3_a_token_that_expires_within_the_session_is_replaced(death: bytes) -> None:
    """At every command in turn, the drain continues with a new token; no message is lost or duplicated."""
    messages = {uid: b"message %d" % uid for uid in range(1, 13)}

    def run(dies_at: int) -> int:
        count = 0
        tokens: list[str] = []

        def hook(peer: Peer, tag: bytes, command: bytes) -> bool:
            nonlocal count
            if command.startswith(b"AUTHENTICATE"):
                peer.raw(b"+ \r\n")
                peer.stream.readline()
                peer.send(tag + b" OK in")
                return True
            if not command.startswith((b"UID", b"SELECT")):
                return False
            count += 1
            if count != dies_at:
                return False
            if death:
                peer.send(death % tag if b"%b" in death else death)
            if not death.startswith(b"%b"):
                peer.hang_up()
            return True

        def new_token() -> str:
            tokens.append(f"token {len(tokens)}")
            return tokens[-1]

        with ScriptedImap(messages, hook) as server:
            with ImapMailbox(server.settings(sign_in=SignIn.CLIENT_SECRET), new_token) as mailbox:
                assert drain(mailbox, count=3) == list(messages.values()), dies_at
            assert server.messages == {}
            assert len(tokens) == server.connections == 2 if dies_at else len(tokens) == 1
        return count

    for dies_at in range(1, run(0) + 1):
        run(dies_at)


def test_8_3_a_token_that_expires_within_the_drain_is_replaced(dovecot: Dovecot) -> None:
    """On a real server, the session is closed and the old token would be refused."""
    user = dovecot.user()
    mails = [plain_mail(n) for n in range(60)]
    user.deliver(mails)
    tokens: list[str] = []

    def new_token() -> str:
        tokens.append(dovecot.token(user.address, lifetime=3_600 if tokens else 2))
        return tokens[-1]

    settings = settings_for(dovecot, user, sign_in=SignIn.CLIENT_SECRET, password=None)
    with ImapMailbox(settings, new_token) as mailbox:
        contents = []
        for n, batch in enumerate(mailbox.fetch(in_batches(mailbox.list("INBOX"), 10), max_bytes=10**6)):
            if n in (1, 3):
                dovecot.kick(user)
            for result in batch:
                assert result.content is not None
                contents.append(result.content.data)
            mailbox.remove([result.listed for result in batch])
        mailbox.commit()
    assert contents == mails
    assert len(tokens) == 3
    assert user.left() == []
