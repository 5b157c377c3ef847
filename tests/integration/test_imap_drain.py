"""Listing and downloading from a real server: every byte, every folder, every size."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from shared.config import After
from shared.errors import FolderMissing
from shared.mailboxes.imap.mailbox import ImapMailbox
from tests.integration.imap_support import LIMIT, content_of, drain, fetch_all, in_batches, no_token, settings_for
from tests.servers.dovecot import Dovecot
from tests.servers.mail import hostile_bodies, plain_mail


def test_1_1_messages_are_downloaded_byte_for_byte(dovecot: Dovecot) -> None:
    user = dovecot.user()
    mails = [
        *hostile_bodies().values(),
        b"",
        b"x",
        plain_mail(1, size=4 * 1024 * 1024),
        plain_mail(2, size=5 * 1024 * 1024),
    ]
    user.deliver(mails)
    with ImapMailbox(settings_for(dovecot, user), no_token) as mailbox:
        listed = mailbox.list("INBOX")
        assert [message.size for message in listed] == [len(mail) for mail in mails]
        for batch in mailbox.fetch(in_batches(listed), max_bytes=LIMIT):
            for result in batch:
                assert result.content is not None
                digest = result.content.sha256
                mail = mails[result.listed.number - 1]
                assert digest == hashlib.sha256(mail).hexdigest()
                assert content_of(result) == mail


def test_1_6_folders_with_odd_names(dovecot: Dovecot) -> None:
    user = dovecot.user()
    names = ("INBOX", "Büro", "Ä & Ö", "日本語", 'quo"ted\\', "with space")
    with ImapMailbox(settings_for(dovecot, user), no_token) as maker:
        for name in names[1:]:
            maker._session._client.create_folder(name)
            maker._session._client.append(name, plain_mail(1, to=f"x@{len(name)}.example"))
        maker._session._client.create_folder("Büro/Ä & Ö")
        maker._session._client.append("Büro/Ä & Ö", plain_mail(2))
    with ImapMailbox(settings_for(dovecot, user, folders=(*names, "Büro/Ä & Ö")), no_token) as mailbox:
        for name in names[1:]:
            assert drain(mailbox, name) == [plain_mail(1, to=f"x@{len(name)}.example")]
            assert mailbox.check_folder(name).messages == 0
        assert drain(mailbox, "Büro/Ä & Ö") == [plain_mail(2)]
        with pytest.raises(FolderMissing, match="'Nowhere' of MAILBOXES__support__FOLDERS"):
            mailbox.list("Nowhere")
        with pytest.raises(FolderMissing):
            mailbox.list("new\r\nline")


def test_keys_and_dates(dovecot: Dovecot) -> None:
    user = dovecot.user()
    user.deliver([plain_mail(1)], received=1_700_000_000)
    with ImapMailbox(settings_for(dovecot, user), no_token) as mailbox:
        assert mailbox.list("INBOX")[0].received is None
        (listed,) = mailbox.list("INBOX", received=True)
        assert listed.received == datetime.fromtimestamp(1_700_000_000, UTC)
        assert listed.key is not None
        validity, _, uid = listed.key.partition(".")
        assert int(validity) > 0
        assert uid == str(listed.number)


def test_1_3_keep_lists_messages_above_the_watermark(dovecot: Dovecot) -> None:
    user = dovecot.user()
    user.deliver(plain_mail(n) for n in range(3))
    with ImapMailbox(settings_for(dovecot, user, after=After.KEEP), no_token) as mailbox:
        first = mailbox.list("INBOX")
        assert mailbox.list("INBOX", above=first[-1].key) == []
        assert mailbox.list("INBOX", above=first[0].key) == first[1:]
        assert mailbox.list("INBOX", above="1.2") == first
        assert mailbox.list("INBOX", above="nonsense") == first
        user.deliver([plain_mail(4)])
        assert fetch_all(mailbox, mailbox.list("INBOX", above=first[-1].key)) == [plain_mail(4)]
        mailbox.remove(first)
        mailbox.commit()
        assert len(mailbox.list("INBOX")) == 4
    assert not any(path.name.endswith(":2,S") for path in user.files())


def test_8_3_a_change_of_uidvalidity(dovecot: Dovecot) -> None:
    user = dovecot.user()
    user.deliver(plain_mail(n) for n in range(3))
    settings = settings_for(dovecot, user, after=After.KEEP)
    with ImapMailbox(settings, no_token) as mailbox:
        before = mailbox.list("INBOX")
    user.new_uidvalidity()
    with ImapMailbox(settings, no_token) as mailbox:
        after = mailbox.list("INBOX", above=before[-1].key)
    assert [message.number for message in after] == [1, 2, 3]
    assert not {message.key for message in after} & {message.key for message in before}


def test_8_2_another_client_expunges_while_we_fetch_and_remove(dovecot: Dovecot) -> None:
    """Sequence numbers change all the time; only the messages that were stored are removed."""
    user = dovecot.user()
    mails = [plain_mail(n) for n in range(120)]
    user.deliver(mails)
    settings = settings_for(dovecot, user)
    with ImapMailbox(settings, no_token) as mailbox, ImapMailbox(settings, no_token) as other:
        others = {message.number: message for message in other.list("INBOX")}
        expunged: set[int] = set()
        stored: dict[int, bytes] = {}
        kept: set[int] = set()
        for batch in mailbox.fetch(in_batches(mailbox.list("INBOX"), 10), max_bytes=LIMIT):
            for result in batch:
                data = content_of(result)
                if data is not None and result.listed.number % 5:
                    stored[result.listed.number] = data
                elif data is not None:
                    kept.add(result.listed.number)
            # The other client removes two messages from the front, and two that are not requested yet.
            at = batch[-1].listed.number
            removed = {uid for uid in (at - 9, at - 8, at + 55, at + 56) if uid in others} - expunged
            other.remove([others[uid] for uid in removed])
            other.commit()
            expunged |= removed
            mailbox.remove([result.listed for result in batch if result.listed.number in stored])
            user.deliver([b"Subject: new\r\n\r\nnew\r\n"])
        mailbox.commit()
    for uid, data in stored.items():
        assert data == mails[uid - 1]
    # Every removed message was stored by us or expunged by the other client.
    remaining = user.left()
    assert remaining.count(b"Subject: new\r\n\r\nnew\r\n") == 12
    expected = {mails[uid - 1] for uid in kept - expunged}
    assert set(remaining) - {b"Subject: new\r\n\r\nnew\r\n"} == expected
    assert len(stored) > 70
    assert len(expunged - set(stored) - kept) > 5


def test_2000_messages_with_removals_in_between(dovecot: Dovecot) -> None:
    user = dovecot.user()
    mails = [plain_mail(n, size=500 + n * 37 % 9_000) for n in range(2_000)]
    user.deliver(mails)
    with ImapMailbox(settings_for(dovecot, user), no_token) as mailbox:
        assert drain(mailbox) == mails
        assert mailbox.list("INBOX") == []
    assert user.left() == []


def test_1_7_memory_does_not_grow_with_a_message(dovecot: Dovecot, tmp_path: Path) -> None:
    """In a separate process, the peak memory rises by less than 32 MB for a message of 100 MB."""
    user = dovecot.user()
    user.deliver([plain_mail(1), plain_mail(2, size=100_000_000)])
    program = f"""
from pathlib import Path
from shared.mailboxes.imap.mailbox import ImapMailbox
from tests.integration.imap_support import in_batches, no_token
from shared.config import *
from pydantic import SecretStr
settings = MailboxSettings(name="m", protocol=MailProtocol.IMAP, address="a@example.com", username={user.name!r},
    password=SecretStr({user.password!r}), host="localhost", port={dovecot.imaps},
    ca_file=Path({str(dovecot.ca_file)!r}))
def peak():
    # Not getrusage, whose peak includes the parent's.
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
with ImapMailbox(settings, no_token) as mailbox:
    small, large = mailbox.list("INBOX")
    for batch in mailbox.fetch([[small]], max_bytes=10**9):
        before = peak()
    for batch in mailbox.fetch([[large]], max_bytes=10**9):
        print(peak() - before, batch[0].content.sha256)
        batch[0].content.close()
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=120)
    kilobytes, digest = done.stdout.split()
    assert digest == hashlib.sha256(plain_mail(2, size=100_000_000)).hexdigest()
    assert 0 < int(kilobytes) < 32 * 1024


def test_1_7_a_message_over_the_limit_is_oversized(
    dovecot: Dovecot, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    user = dovecot.user()
    user.deliver([plain_mail(1), plain_mail(2, size=6_000_000), plain_mail(3)])
    with ImapMailbox(settings_for(dovecot, user), no_token) as mailbox:
        batches = list(mailbox.fetch(in_batches(mailbox.list("INBOX")), max_bytes=5_000_000))
        results = [(result.oversized, result.content is None) for batch in batches for result in batch]
        assert results == [(False, False), (True, True), (False, False)]
    assert list(tmp_path.iterdir()) == []


def test_a_truncated_file_on_the_server_does_not_block_the_drain(dovecot: Dovecot) -> None:
    """Dovecot ends the session the first time it reads a Maildir file that is shorter than its name says."""
    user = dovecot.user()
    user.deliver([plain_mail(n) for n in range(5)])
    path = user.files()[2]
    path.write_bytes(plain_mail(2)[:700])
    with ImapMailbox(settings_for(dovecot, user), no_token) as mailbox:
        results = fetch_all(mailbox, mailbox.list("INBOX"))
        assert [data for n, data in enumerate(results) if n != 2] == [plain_mail(n) for n in (0, 1, 3, 4)]
        assert results[2] in (None, plain_mail(2)[:700])
