"""Messages that a server lists and does not deliver: gone, refused, busy, or without a UID (rules 1.8 and 8.3)."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from shared.errors import AccessRefused, MailboxBusy
from shared.mailboxes.base import FetchResult
from shared.mailboxes.imap.mailbox import FETCH_WIDTH, ImapMailbox
from shared.mailboxes.imap.refusals import BUSY_IN_A_ROW
from shared.mailboxes.spool import MEMORY_LIMIT
from tests.integration.imap_support import LIMIT, MAILS, Peer, ScriptedImap, in_batches, is_fetch, opened


def fetch_results(mailbox: ImapMailbox, count: int = 100) -> dict[int, FetchResult]:
    """Return the result of every listed message, by UID."""
    listed = mailbox.list("INBOX")
    answers = [result for batch in mailbox.fetch(in_batches(listed, count), max_bytes=LIMIT) for result in batch]
    assert [result.listed for result in answers] == list(listed)
    return {result.listed.number: result for result in answers}


def delivered(answers: dict[int, FetchResult]) -> dict[int, bytes]:
    return {
        uid: bytes(result.content.data)
        for uid, result in answers.items()
        if result.content is not None and isinstance(result.content.data, bytes)
    }


def without(*bad: int) -> dict[int, bytes]:
    return {uid: mail for uid, mail in MAILS.items() if uid not in bad}


def omitting(server: Callable[[], ScriptedImap], *bad: int) -> Callable[[Peer, bytes, bytes], bool]:
    """Return a hook that responds OK to every FETCH and omits some messages."""

    def hook(peer: Peer, tag: bytes, command: bytes) -> bool:
        if not is_fetch(command):
            return False
        for number, uid in enumerate(sorted(server().messages), 1):
            if uid in server()._uids(command) and uid not in bad:
                peer.send(server().body(number, uid))
        peer.send(tag + b" OK FETCH completed")
        return True

    return hook


def test_8_3_ok_without_the_message_is_a_refusal_if_it_still_exists() -> None:
    hook = omitting(lambda: server, 2, 5)
    with ScriptedImap(MAILS, hook) as server, opened(server) as mailbox:
        answers = fetch_results(mailbox)
        assert delivered(answers) == without(2, 5)
        assert answers[2].refused == answers[5].refused == "the server answered OK without the message"
        searches = [command for command in server.commands if b"SEARCH" in command]
        assert searches == [b"UID SEARCH UID 2,5"]


def test_8_3_ok_without_the_message_means_gone_if_search_confirms_it() -> None:
    def hook(peer: Peer, tag: bytes, command: bytes) -> bool:
        if is_fetch(command):
            server.messages.pop(2, None)
        return omitting(lambda: server, 5)(peer, tag, command)

    with ScriptedImap(MAILS, hook) as server, opened(server) as mailbox:
        answers = fetch_results(mailbox)
        assert (answers[2].content, answers[2].refused) == (None, None)
        assert answers[5].refused is not None
        assert delivered(answers) == without(2, 5)


@pytest.mark.parametrize("code", [b"EXPUNGEISSUED", b"NONEXISTENT"])
def test_8_3_a_message_reported_as_gone_that_still_exists_is_refused(code: bytes) -> None:
    def hook(peer: Peer, tag: bytes, command: bytes) -> bool:
        if is_fetch(command) and 5 in server._uids(command):
            peer.send(tag + b" NO [%b] it is not here" % code)
            return True
        return False

    with ScriptedImap(MAILS, hook) as server, opened(server) as mailbox:
        answers = fetch_results(mailbox)
        assert code.decode() in str(answers[5].refused)
        assert delivered(answers) == without(5)


@pytest.mark.parametrize("code", [b"EXPUNGEISSUED", b"NONEXISTENT"])
def test_8_3_a_message_reported_as_gone_is_gone_if_search_confirms_it(code: bytes) -> None:
    def hook(peer: Peer, tag: bytes, command: bytes) -> bool:
        if not is_fetch(command):
            return False
        server.messages.pop(5, None)
        if command.startswith(b"UID FETCH 5 "):
            peer.send(tag + b" NO [%b] it is not here" % code)
            return True
        return False

    with ScriptedImap(MAILS, hook) as server, opened(server) as mailbox:
        answers = fetch_results(mailbox)
        assert (answers[5].content, answers[5].refused) == (None, None)
        assert delivered(answers) == without(5)


def test_8_3_a_refused_search_decides_nothing() -> None:
    def hook(peer: Peer, tag: bytes, command: bytes) -> bool:
        if b"SEARCH" in command:
            peer.send(tag + b" NO not today")
            return True
        return omitting(lambda: server, 5)(peer, tag, command)

    with ScriptedImap(MAILS, hook) as server, opened(server) as mailbox:
        answers = fetch_results(mailbox)
        assert answers[5].refused is not None
        assert delivered(answers) == without(5)


def test_8_3_an_undelivered_large_message_is_refused() -> None:
    mails = {1: MAILS[1], 2: b"x" * 5_000_000, 3: MAILS[3]}
    hook = omitting(lambda: server, 2)
    with ScriptedImap(mails, hook) as server, opened(server) as mailbox:
        answers = fetch_results(mailbox)
        assert answers[2].refused == "the server answered OK without the message"
        assert delivered(answers) == {1: MAILS[1], 3: MAILS[3]}


class ScriptedImapWithoutUids:
    """A hook that responds to FETCH without UIDs for some messages.

    Args:
        bad: the UIDs of those.
        offset: added to their sequence numbers: another message's.
    """

    def __init__(self, *bad: int, offset: int = 0, expunges: bool = False) -> None:
        self.bad = bad
        self.offset = offset
        self.expunges = expunges
        self.server: ScriptedImap

    def __call__(self, peer: Peer, tag: bytes, command: bytes) -> bool:
        if not is_fetch(command) and not command.startswith(b"SEARCH UID "):
            return False
        numbers = {uid: number for number, uid in enumerate(sorted(self.server.messages), 1)}
        if not is_fetch(command):
            peer.send(b"* SEARCH %d" % numbers[int(command.split()[-1])], tag + b" OK")
            return True
        alone = len(self.server._uids(command)) == 1
        for uid in self.server._uids(command):
            body = self.server.body(numbers[uid], uid)
            if uid in self.bad:
                body = self.server.body(numbers[uid] + self.offset, uid).replace(b"UID %d " % uid, b"")
                if self.expunges and alone:
                    peer.send(b"* 1 EXPUNGE")
            peer.send(body)
        peer.send(tag + b" OK done")
        return True


@pytest.mark.parametrize("count", [1, 3, 100])
def test_8_3_a_fetch_without_a_uid_is_accepted_if_search_confirms_it(count: int) -> None:
    hook = ScriptedImapWithoutUids(2, 5, 6, 10)
    with ScriptedImap(MAILS, hook) as server, opened(server) as mailbox:
        hook.server = server
        assert delivered(fetch_results(mailbox, count)) == MAILS


def test_8_3_fetch_without_a_uid_of_a_large_message() -> None:
    mails = {1: MAILS[1], 2: b"0123456789abcde\n" * 300_000, 3: MAILS[3]}
    hook = ScriptedImapWithoutUids(2)
    with ScriptedImap(mails, hook) as server, opened(server) as mailbox:
        hook.server = server
        answers = fetch_results(mailbox)
        content = answers[2].content
        assert content is not None
        assert content.size == len(mails[2])
        content.close()


@pytest.mark.parametrize(
    "hook", [ScriptedImapWithoutUids(2, 5, offset=1), ScriptedImapWithoutUids(2, 5, expunges=True)]
)
def test_8_3_a_fetch_without_a_uid_is_never_assigned_to_another_message(hook: ScriptedImapWithoutUids) -> None:
    """The sequence number belongs to another message, or may by now."""
    with ScriptedImap(MAILS, hook) as server, opened(server) as mailbox:
        hook.server = server
        answers = fetch_results(mailbox)
        assert delivered(answers) == without(2, 5)
        assert "without a UID" in str(answers[2].refused)


@pytest.mark.parametrize(
    "answer",
    [
        b"NO [UNAVAILABLE] UID FETCH Server error - Please try again later",
        b"NO [SERVERBUG] Internal error occurred",
        b"NO [INUSE] later",
        b"NO [LIMIT] too large",
        b"BAD Server Unavailable. 15",
    ],
)
def test_1_8_an_unavailable_message_does_not_block_others(answer: bytes) -> None:
    def hook(peer: Peer, tag: bytes, command: bytes) -> bool:
        if is_fetch(command) and 5 in server._uids(command):
            peer.send(tag + b" " + answer)
            return True
        return False

    with ScriptedImap(MAILS, hook) as server, opened(server) as mailbox:
        for count in (100, 4, 1):
            answers = fetch_results(mailbox, count)
            assert delivered(answers) == without(5)
            assert answer.decode().partition(" ")[2] in str(answers[5].refused)
        # It stays refused when it is the only message in the mailbox.
        server.messages = {5: MAILS[5]}
        assert fetch_results(mailbox)[5].refused is not None


def test_1_8_several_unavailable_messages_do_not_block_others() -> None:
    bad = {1, 2, 3, 5, 6, 7, 9, 10}

    def hook(peer: Peer, tag: bytes, command: bytes) -> bool:
        if is_fetch(command) and bad & set(server._uids(command)):
            peer.send(tag + b" NO [UNAVAILABLE] later")
            return True
        return False

    with ScriptedImap(MAILS, hook) as server, opened(server) as mailbox:
        answers = fetch_results(mailbox)
        assert delivered(answers) == without(*bad)
        assert all(answers[uid].refused for uid in bad)


def test_1_7_messages_larger_than_reported_are_postponed_to_the_next_listing() -> None:
    """Each message is spooled to disk, and two at once might wait for each other forever."""
    mails = {uid: b"Subject: %d\r\n\r\n" % uid + b"x" * MEMORY_LIMIT for uid in range(1, 4)}

    def hook(peer: Peer, tag: bytes, command: bytes) -> bool:
        if b"RFC822.SIZE" not in command:
            return False
        lines = [b"* %d FETCH (UID %d RFC822.SIZE 100)" % (n, uid) for n, uid in enumerate(sorted(server.messages), 1)]
        peer.send(*lines, tag + b" OK")
        return True

    with ScriptedImap(mails, hook) as server, opened(server) as mailbox:
        sizes: list[int] = []
        for expected in (2, 1, 0):
            answers = fetch_results(mailbox)
            assert sum(result.postponed for result in answers.values()) == expected
            contents = {uid: result.content for uid, result in answers.items() if result.content is not None}
            for uid, content in contents.items():
                sizes.append(content.size)
                content.close()
                del server.messages[uid]
        assert sizes == [len(mails[1])] * 3


@pytest.mark.parametrize("whole", [False, True], ids=["a piece", "no pieces"])
def test_1_8_unavailable_messages_in_a_row_do_not_block_if_the_last_message_is_delivered(whole: bool) -> None:
    """Some servers send the whole message, or a piece without its offset, when a piece is requested."""
    mails = {uid: b"Subject: %d\r\n\r\nbody\r\n" % uid for uid in range(1, 31)}
    bad = set(range(1, 24))

    def hook(peer: Peer, tag: bytes, command: bytes) -> bool:
        if not is_fetch(command):
            return False
        if bad & set(server._uids(command)):
            peer.send(tag + b" NO [UNAVAILABLE] later")
            return True
        if whole and b"UID FETCH *" in command:
            peer.send(b"* 30 FETCH (UID 30 BODY[] {1}\r\nS)", tag + b" OK")
            return True
        return False

    with ScriptedImap(mails, hook) as server, opened(server) as mailbox:
        answers = fetch_results(mailbox, 10)
        assert delivered(answers) == {uid: mail for uid, mail in mails.items() if uid not in bad}
        assert all(answers[uid].refused for uid in bad)
        assert sum(b"FETCH *" in command for command in server.commands) == len(bad) // BUSY_IN_A_ROW


def test_1_8_a_server_that_delivers_nothing_is_busy() -> None:
    def hook(peer: Peer, tag: bytes, command: bytes) -> bool:
        if is_fetch(command):
            peer.send(tag + b" NO [UNAVAILABLE] later")
            return True
        return False

    mails = {uid: b"Subject: %d\r\n\r\n" % uid for uid in range(1, 201)}
    with ScriptedImap(mails, hook) as server, opened(server) as mailbox:
        with pytest.raises(MailboxBusy, match="5 messages in a row"):
            fetch_results(mailbox)
        assert sum(map(is_fetch, server.commands)) <= 10


def run_session(mailbox: ImapMailbox) -> None:
    """List, fetch, remove, and check the folder."""
    mailbox.check_folder("INBOX")
    mailbox.remove([result.listed for result in fetch_results(mailbox, 3).values()])
    mailbox.commit()


THROTTLED = b"BAD Request is throttled. Suggested Backoff Time: 89117 milliseconds"


@pytest.mark.parametrize(
    "pattern", [rb"^STATUS", rb"^SELECT", rb"SIZE", rb"BODY", rb"^UID STORE", rb"^UID EXPUNGE", rb"^UID SEARCH"]
)
def test_1_9_throttling_is_busy_for_the_suggested_backoff(pattern: bytes) -> None:
    """This holds for every command, and no further message is requested."""

    def hook(peer: Peer, tag: bytes, command: bytes) -> bool:
        if not re.search(pattern, command):
            return False
        peer.send(tag + b" " + THROTTLED, b"* BYE Connection closed. 14")
        return True

    with ScriptedImap(MAILS, hook) as server, opened(server) as mailbox:
        with pytest.raises(MailboxBusy) as raised:
            run_session(mailbox)
        assert raised.value.retry_after == pytest.approx(89.117)
        assert sum(bool(re.search(pattern, command)) for command in server.commands) <= FETCH_WIDTH


@pytest.mark.parametrize("pattern", [rb"^SELECT", rb"SIZE", rb"BODY", rb"^STATUS"])
def test_1_9_authenticated_but_not_connected(pattern: bytes) -> None:
    def hook(peer: Peer, tag: bytes, command: bytes) -> bool:
        if not re.search(pattern, command):
            return False
        peer.send(tag + b" BAD User is authenticated but not connected.")
        return True

    with ScriptedImap(MAILS, hook) as server, opened(server) as mailbox:
        with pytest.raises(AccessRefused, match="MAILBOXES__support__SHARED_MAILBOX") as raised:
            run_session(mailbox)
        assert "b'" not in str(raised.value)
