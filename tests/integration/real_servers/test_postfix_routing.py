"""Routing by the header fields of Postfix: aliases, plus addresses, Bcc and forwarding (rules 2.2 to 2.4).

Postfix delivers into a Maildir that Dovecot serves. The mailbox is `production@`, and `sales@` is its alias. The order
of the fields: X-Original-To before Delivered-To, and one result (docs/how-to/aliases.md).
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.integration.real_servers.conftest import MakeMailbox, dovecot_user
from tests.integration.real_servers.mailbox_fixture import MailboxFixture
from tests.servers.dovecot import Dovecot
from tests.servers.postfix import SENDER, Postfix, PostfixMailbox

Collect = Callable[[int], MailboxFixture]


@pytest.fixture
def target(postfix: Postfix) -> PostfixMailbox:
    """Return a new mailbox behind Postfix."""
    return postfix.mailbox()


@pytest.fixture(params=["with ALIASES", "without ALIASES"])
def collect(
    request: pytest.FixtureRequest,
    postfix: Postfix,
    target: PostfixMailbox,
    dovecot: Dovecot,
    make_mailbox: MakeMailbox,
) -> Collect:
    """Return a function that waits for a number of messages, serves them on Dovecot, and drains and routes them."""
    user, account = dovecot_user(dovecot)
    aliases = {"ALIASES": f"sales@{target.domain}"} if request.param == "with ALIASES" else {}

    def collected(count: int) -> MailboxFixture:
        user.deliver(postfix.delivered(target, count))
        mailbox = make_mailbox(account, "imap", ADDRESS=f"production@{target.domain}", **aliases)
        mailbox.routes = {
            "ROUTES__production__ADDRESS": f"production@{target.domain}",
            "ROUTES__sales__ADDRESS": f"sales@{target.domain}",
            "ROUTES__old__ADDRESS": target.forwarder,
        }
        expected = account.read()
        assert mailbox.poll().collected == count
        assert mailbox.stored() == sorted(expected)
        assert account.read() == []
        return mailbox

    return collected


def letter(*, to: str, cc: str = "", extra: str = "") -> bytes:
    """Return a message as its sender submits it, without Bcc in the header."""
    copy = f"Cc: {cc}\r\n" if cc else ""
    head = f"{extra}From: A colleague <{SENDER}>\r\nTo: {to}\r\n{copy}Subject: Order\r\nMessage-ID: <1@example.net>\r\n"
    return f"{head}Date: Mon, 23 Nov 2026 12:00:00 +0000\r\n\r\ntext\r\n".encode()


def routed(mailbox: MailboxFixture) -> list[tuple[str, str, str]]:
    """Return route, recipient and match of each result; fail if a message was unhandled."""
    assert mailbox.paths("unhandled/") == []
    return sorted((result["route"], result["recipient"], result["matched"]) for result in mailbox.results())


def test_2_2_to_an_alias(postfix: Postfix, target: PostfixMailbox, collect: Collect) -> None:
    sales = f"sales@{target.domain}"
    postfix.send(letter(to=sales), sales)
    assert routed(collect(1)) == [("sales", sales, "to")]


def test_2_2_to_the_mailbox_itself(postfix: Postfix, target: PostfixMailbox, collect: Collect) -> None:
    production = f"production@{target.domain}"
    postfix.send(letter(to=production), production)
    assert routed(collect(1)) == [("production", production, "to")]


def test_2_2_bcc_to_an_alias_gives_one_result(postfix: Postfix, target: PostfixMailbox, collect: Collect) -> None:
    """X-Original-To is sales@, Delivered-To production@. Both have a route, but only X-Original-To counts."""
    sales = f"sales@{target.domain}"
    postfix.send(letter(to="someone@example.org"), sales)
    assert routed(collect(1)) == [("sales", sales, "x-original-to")]


def test_2_2_bcc_to_the_mailbox_itself(postfix: Postfix, target: PostfixMailbox, collect: Collect) -> None:
    production = f"production@{target.domain}"
    postfix.send(letter(to="someone@example.org"), production)
    assert routed(collect(1)) == [("production", production, "x-original-to")]


def test_2_2_an_alias_whose_to_was_rewritten_to_the_primary_address(
    postfix: Postfix, target: PostfixMailbox, collect: Collect
) -> None:
    """Exchange does this before it forwards a colleague's mail: only the envelope contains sales@."""
    sales = f"sales@{target.domain}"
    postfix.send(letter(to=f"production@{target.domain}"), sales)
    assert routed(collect(1)) == [("sales", sales, "x-original-to")]


def test_2_2_alias_and_mailbox_each_get_their_result(
    postfix: Postfix, target: PostfixMailbox, collect: Collect
) -> None:
    """Postfix delivers one copy for each recipient; the second result for a recipient is a duplicate."""
    production, sales = f"production@{target.domain}", f"sales@{target.domain}"
    postfix.send(letter(to=production, cc=sales), production, sales)
    results = routed(collect(2))
    assert [(route, recipient) for route, recipient, _ in results] == [("production", production), ("sales", sales)]


def test_2_2_delivery_fields_of_the_sender_are_ignored(
    postfix: Postfix, target: PostfixMailbox, collect: Collect
) -> None:
    production, sales = f"production@{target.domain}", f"sales@{target.domain}"
    forged = f"X-Original-To: {sales}\r\nDelivered-To: {sales}\r\n"
    postfix.send(letter(to=production, extra=forged), production)
    assert routed(collect(1)) == [("production", production, "to")]


def test_2_4_a_plus_address_of_an_alias(postfix: Postfix, target: PostfixMailbox, collect: Collect) -> None:
    postfix.send(letter(to=f"Sales+REF7@{target.domain}"), f"sales+REF7@{target.domain}")
    mailbox = collect(1)
    ((route, _, matched),) = routed(mailbox)
    assert (route, matched) == ("sales", "to")
    (result,) = mailbox.results()
    assert result["reference"] == "REF7"
    assert result["recipient"] == f"sales+ref7@{target.domain}"


def test_2_4_bcc_to_a_plus_address_of_an_alias(postfix: Postfix, target: PostfixMailbox, collect: Collect) -> None:
    postfix.send(letter(to="someone@example.org"), f"sales+REF7@{target.domain}")
    mailbox = collect(1)
    ((route, _, matched),) = routed(mailbox)
    assert (route, matched) == ("sales", "x-original-to")
    (result,) = mailbox.results()
    assert result["reference"] == "REF7"


@pytest.mark.parametrize("bcc", [False, True])
def test_2_2_forwarded_by_another_mailbox(
    postfix: Postfix, target: PostfixMailbox, collect: Collect, bcc: bool
) -> None:
    """The forwarder adds a Delivered-To below the line of trust, and the address that it was sent to stays first."""
    postfix.send(letter(to="someone@example.org" if bcc else target.forwarder), target.forwarder)
    assert routed(collect(1)) == [("old", target.forwarder, "x-original-to" if bcc else "to")]
