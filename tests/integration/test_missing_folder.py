"""The error about a missing folder names the setting, and the folders that exist."""

from __future__ import annotations

import re

import pytest

from shared.config import After
from shared.errors import FolderMissing
from shared.mailboxes.folder_names import MAX_FOLDERS, existing_folders
from shared.mailboxes.imap.mailbox import ImapMailbox
from tests.integration.imap_support import Peer, ScriptedImap, no_token, settings_for
from tests.servers.dovecot import Dovecot
from tests.servers.graph import Graph
from tests.servers.mail import plain_mail


def listed(error: str) -> set[str]:
    """Return the folders that an error lists."""
    return set(re.findall(r"'([^']*)'", error.partition("; the folders there are ")[2]))


def test_imap_lists_the_folders(dovecot: Dovecot) -> None:
    user = dovecot.user()
    for folder in ("Büro", "Orders"):
        user.deliver([plain_mail(1)], folder=folder)
    with ImapMailbox(settings_for(dovecot, user, folders=("Order",)), no_token) as mailbox:
        for action in (lambda: mailbox.list("Order"), lambda: mailbox.check_folder("Order")):
            with pytest.raises(FolderMissing) as caught:
                action()
            text = str(caught.value)
            assert "mailbox support at localhost" in text
            assert "folder 'Order' of MAILBOXES__support__FOLDERS is missing or may not be opened: " in text
            assert {"INBOX", "Büro", "Orders"} <= listed(text)


def test_imap_lists_the_folders_for_the_target(dovecot: Dovecot) -> None:
    user = dovecot.user()
    user.deliver([plain_mail(1)])
    user.deliver([plain_mail(1)], folder="Archive")
    settings = settings_for(dovecot, user, after=After.MOVE, move_to="Archiv")
    with ImapMailbox(settings, no_token) as mailbox, pytest.raises(FolderMissing) as caught:
        mailbox.list("INBOX")
    assert "folder 'Archiv' of MAILBOXES__support__AFTER is missing" in str(caught.value)
    assert {"INBOX", "Archive"} <= listed(str(caught.value))
    assert len(user.left()) == 1


def test_imap_lists_the_most_similar_of_many_folders(dovecot: Dovecot) -> None:
    user = dovecot.user()
    for number in range(30):
        user.deliver([plain_mail(1)], folder=f"Folder{number}")
    with ImapMailbox(settings_for(dovecot, user), no_token) as mailbox, pytest.raises(FolderMissing) as caught:
        mailbox.list("Folder-29")
    text = str(caught.value)
    assert "; the folders there are 'Folder29', " in text
    assert len(listed(text)) == MAX_FOLDERS
    assert re.search(r" and \d\d more$", text)


def test_graph_lists_the_folders_beside_the_missing_one(graph: Graph) -> None:
    box = graph.box("support@example.com", plain_mail(1))
    box.folder("Kunden/Aufträge")
    box.folder("Kunden/Angebote")
    with graph.open() as mailbox:
        with pytest.raises(FolderMissing) as caught:
            mailbox.list("Kunde")
        text = str(caught.value)
        assert "mailbox support: the folder 'Kunde' does not exist; check MAILBOXES__support__FOLDERS" in text
        assert {"Inbox", "Kunden"} <= listed(text)
        with pytest.raises(FolderMissing, match=r"; the folders there are 'Kunden/A\w+', 'Kunden/A\w+'$"):
            mailbox.check_folder("Kunden/Auftrag")
    with graph.open(after=After.MOVE, move_to="Kunden/Archiv") as mailbox, pytest.raises(FolderMissing) as caught:
        mailbox.list("INBOX")
    assert "MAILBOXES__support__AFTER" in str(caught.value)
    assert "'Kunden/Angebote'" in str(caught.value)


def test_names_are_printable_and_short() -> None:
    text = existing_folders(["a\r\n\x1b[31mb", "x" * 1000], "c")
    assert text.isprintable()
    assert len(text) < 200
    assert existing_folders([], "c") == ""


@pytest.mark.parametrize("answer", [b"NO not allowed", b""], ids=["refused", "connection closed"])
def test_imap_without_a_list_still_reports_the_missing_folder(answer: bytes) -> None:
    def hook(peer: Peer, tag: bytes, command: bytes) -> bool:
        if command.startswith((b"SELECT", b"EXAMINE")):
            peer.send(tag + b" NO [NONEXISTENT] no such folder")
        elif command.startswith(b"LIST") and answer:
            peer.send(tag + b" " + answer)
        elif command.startswith(b"LIST"):
            peer.hang_up()
        else:
            return False
        return True

    with (
        ScriptedImap(hook=hook) as server,
        ImapMailbox(server.settings(folders=("Sales",)), no_token) as mailbox,
        pytest.raises(FolderMissing, match=r"'Sales' of MAILBOXES__support__FOLDERS is missing .*no such folder$"),
    ):
        mailbox.list("Sales")
