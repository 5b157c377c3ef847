"""Addresses and address lists."""

import pytest

from shared.addresses import normalise
from shared.documents.message_document import message_fields
from shared.mime.address_list import MAX_INVALID, MAX_NAMES, Address, read_list
from shared.mime.defects import Defects
from shared.mime.parser import parse

LISTS = {
    "bare": ("a@b.example", [("", "a@b.example")], []),
    "name": ("John Doe <a@b.example>", [("John Doe", "a@b.example")], []),
    "quoted name": (
        '"Doe, John" <a@b.example>, c@d.example',
        [("Doe, John", "a@b.example"), ("", "c@d.example")],
        [],
    ),
    "escaped name": ('"a \\"b\\" c" <a@b.example>', [('a "b" c', "a@b.example")], []),
    "group": (
        "Team: a@b.example, X <c@d.example>; e@f.example",
        [("", "a@b.example"), ("X", "c@d.example"), ("", "e@f.example")],
        [],
    ),
    "empty group": ("undisclosed-recipients:;", [], []),
    "empty group without end": ("undisclosed-recipients:", [], []),
    "comment as name": ("a@b.example (John \\(Doe\\))", [("John (Doe)", "a@b.example")], []),
    "nested comments": ("A (x (y) z) <a@b.example>", [("A", "a@b.example")], []),
    "comment inside": ("a@(here)b.example", [("here", "a@b.example")], []),
    "quoted local part": ('"john doe"@b.example', [("", '"john doe"@b.example')], []),
    "quoted at": ('"a@x"@b.example', [("", '"a@x"@b.example')], []),
    "obsolete spaces": ("john . doe @ b . example", [("", "john.doe@b.example")], []),
    "obsolete route": ("<@x.example,@y.example:a@b.example>", [("", "a@b.example")], []),
    "obsolete commas": ("a@b.example,,, c@d.example,", [("", "a@b.example"), ("", "c@d.example")], []),
    "domain literal": ("a@[192.0.2.1]", [("", "a@[192.0.2.1]")], []),
    "encoded name": ("=?utf-8?q?J=C3=B6rg?= <a@b.example>", [("Jörg", "a@b.example")], []),
    "encoded comma": ("=?utf-8?Q?Doe,_J=C3=B6rg?= <a@b.example>", [("Doe, Jörg", "a@b.example")], []),
    "encoded quoted name": ('"=?utf-8?q?J=C3=B6rg?=" <a@b.example>', [("Jörg", "a@b.example")], []),
    "encoded address": ("=?utf-8?q?a=40b=2Eexample?=", [("", "a@b.example")], []),
    "internationalised": ("Jörg <jörg@bücher.example>", [("Jörg", "jörg@bücher.example")], []),
    "semicolons": ("a@b.example; c@d.example", [("", "a@b.example"), ("", "c@d.example")], []),
    "spaces between": ("a@b.example c@d.example", [("", "a@b.example"), ("", "c@d.example")], []),
    "no brackets": ("Foo Bar a@b.example", [("Foo Bar", "a@b.example")], []),
    "address as name": ("a@b.example <a@b.example>", [("a@b.example", "a@b.example")], []),
    "apostrophes": ("'a@b.example'", [("", "a@b.example")], []),
    "mailto": ("<mailto:a@b.example>", [("", "a@b.example")], []),
    "not closed": ("X <a@b.example, c@d.example", [("X", "a@b.example"), ("", "c@d.example")], []),
    "open quote": ('"X <a@b.example>, c@d.example', [("X", "a@b.example"), ("", "c@d.example")], []),
    "two in a row": ("<a@b.example> <c@d.example>", [("", "a@b.example"), ("", "c@d.example")], []),
    "junk before": ("foo, a@b.example", [("", "a@b.example")], ["foo"]),
    "junk between": ("a@b.example, @@, <x y@z>, c@d.e", [("", "a@b.example"), ("", "c@d.e")], ["@@", "<x y@z>"]),
    "two ats": ("a@b@c.example, d@e.example", [("", "d@e.example")], ["a@b@c.example"]),
    "parenthesis trick": ("a@b.example)c@d.example", [], ["a@b.example)c@d.example"]),
    "empty": ("<>, a@b.example", [("", "a@b.example")], ["<>"]),
    "nothing": (" , ; ", [], []),
    "encoded junk": ("=?utf-8?q?caf=C3=A9?=", [], ["café"]),
    "invisible character": ("Desk <\u2066desk\u00ad@b.example\u200b\u2069>", [("Desk", "desk@b.example")], []),
    "invisible bare": ("a@b.example\u200b, \u202ac@d.example\u202c", [("", "a@b.example"), ("", "c@d.example")], []),
    "invisible beside": ("a@b.c \ufeff,\u200b, < \u2060 d@e.f>", [("", "a@b.c"), ("", "d@e.f")], []),
    "invisible in a name": ("A\u200bB <a@b.example>", [("A\u200bB", "a@b.example")], []),
    "invisible behind apostrophes": ("'a@b.example\u200b'\u200b", [("", "a@b.example")], []),
    "stray bracket": ("a@b.example>", [("", "a@b.example")], []),
}  # fmt: skip


@pytest.mark.parametrize(("text", "addresses", "invalid"), LISTS.values(), ids=LISTS)
def test_2_1_lists_are_read(text: str, addresses: list[tuple[str, str]], invalid: list[str]) -> None:
    assert read_list(text, Defects()) == ([Address(*entry) for entry in addresses], invalid)


AUTHORS: dict[str, tuple[str, list[tuple[str, str | None]], list[str]]] = {
    # An address where RFC 5322 allows none.
    "quoted within brackets": ('"Corner Shop" <"shop@b.example">', [("Corner Shop", "shop@b.example")], []),
    "quoted beside another": ('"a@b.example" <"c@d.example">', [("a@b.example", "c@d.example")], []),
    "wholly quoted": ('"shop@b.example"', [("", "shop@b.example")], []),
    "quoted behind a name": ('Corner Shop "shop@b.example"', [("Corner Shop", "shop@b.example")], []),
    "in a comment": ("Corner Shop (shop@b.example)", [("Corner Shop", "shop@b.example")], []),
    "in brackets in a comment": ("=?utf-8?q?Caf=C3=A9?= (<shop@b.example>)", [("Café", "shop@b.example")], []),
    "comment alone": ("(shop@b.example)", [("", "shop@b.example")], []),
    "comment within brackets": ("Shop <(shop@b.example)>", [("Shop", "shop@b.example")], []),
    "quoted local part": ('"shop keeper"@b.example', [("", '"shop keeper"@b.example')], []),
    "address and comment": ("Shop (shop@b.example) <s@d.example>", [("Shop", "s@d.example")], []),
    "words in quotes": ('"to shop@b.example"', [("to shop@b.example", None)], ['"to shop@b.example"']),
    "two in quotes": ('"a@b.example" "c@d.e"', [("a@b.example c@d.e", None)], ['"a@b.example" "c@d.e"']),
    "junk before": ('"postmaster@" <b.example postmaster@b.example>', [("postmaster@", "postmaster@b.example")], []),
    "junk behind": ("Jo <jo@b.example SMTP>", [("Jo", "jo@b.example")], []),
    "brackets within": ("Jo <[jo@b.example]>", [("Jo", "jo@b.example")], []),
    "the same twice": ("<jo@b.example JO@b.example>", [("", "jo@b.example")], []),
    "two within brackets": ("<jo@b.example jim@b.example>", [], ["<jo@b.example jim@b.example>"]),
    "mailbox in quotes": ('"Corner Shop <shop@b.example>"', [("Corner Shop", "shop@b.example")], []),
    "mailbox in quotes, empty brackets": ('"Shop <shop@b.example>" <>', [("Shop", "shop@b.example")], []),
    "mailbox and words": ('"Shop <a@b.example>" x', [("Shop <a@b.example> x", None)], ['"Shop <a@b.example>" x']),
    "two mailboxes in quotes": ('"<a@b.c>, <d@e.f>"', [("<a@b.c>, <d@e.f>", None)], ['"<a@b.c>, <d@e.f>"']),
    "mailto in quotes": ('"Shop" <"mailto:shop@b.example">', [("Shop", "shop@b.example")], []),
    "quotes in a comment": ('"Shop" ("shop@b.example")', [("Shop", "shop@b.example")], []),
    "square brackets": ("Shop [shop@b.example]", [("Shop", "shop@b.example")], []),
    "two in square brackets": ("Shop [a@b.c] [d@e.f]", [("Shop [a@b.c] [d@e.f]", None)], ["Shop [a@b.c] [d@e.f]"]),
    "no address in square brackets": ("Shop [192.0.2.1]", [("Shop [192.0.2.1]", None)], ["Shop [192.0.2.1]"]),
    "a name in brackets": ("<Shop> <shop@b.example>", [("Shop", "shop@b.example")], []),
    "a name in brackets behind": ("<shop@b.example> <Shop>", [("", "shop@b.example")], ["<Shop>"]),
    # A comma in a display name.
    "surname and a comment": ("Roe, Ann (ann@b.example)", [("Roe, Ann", "ann@b.example")], []),
    "surnames and comments": (
        "Roe, Ann (<ann@b.example>), Poe, Jim (jim@b.example), jo@b.example",
        [("Roe, Ann", "ann@b.example"), ("Poe, Jim", "jim@b.example"), ("", "jo@b.example")],
        [],
    ),
    "no address in a comment": ("jo@b.example, Roe, Ann (at work)", [("", "jo@b.example")], ["Roe", "Ann (at work)"]),
    "address before a comment": ("Roe, ann@b.example (a@d.example)", [("a@d.example", "ann@b.example")], ["Roe"]),
    "surname first": ("Roe, Ann <ann@b.example>", [("Roe, Ann", "ann@b.example")], []),
    "encoded surname first": ("=?utf-8?q?R=C3=B6?=, Ann <ann@b.example>", [("Rö, Ann", "ann@b.example")], []),
    "title": ("Roe, Ann, Dr. <ann@b.example>", [("Roe, Ann, Dr.", "ann@b.example")], []),
    "comma before brackets": ("Corner Shop , <shop@b.example>", [("Corner Shop", "shop@b.example")], []),
    "two commas": ("Roe,, Ann <ann@b.example>", [("Roe, Ann", "ann@b.example")], []),
    "in a list": (
        "jo@b.example, Roe, Ann <ann@b.example>, Poe, Jim <jim@b.example>",
        [("", "jo@b.example"), ("Roe, Ann", "ann@b.example"), ("Poe, Jim", "jim@b.example")],
        [],
    ),
    "in a group": ("Us: Roe, Ann <ann@b.example>;", [("Roe, Ann", "ann@b.example")], []),
    "address before": ("jo@b.example, Ann <ann@b.example>", [("", "jo@b.example"), ("Ann", "ann@b.example")], []),
    "encoded address before": (
        "=?utf-8?q?jo=40b.example?=, Ann <ann@b.example>",
        [("", "jo@b.example"), ("Ann", "ann@b.example")],
        [],
    ),
    "no brackets": ("Roe, ann@b.example", [("", "ann@b.example")], ["Roe"]),
    "a long list of names": ("a, " * 20 + "Jo <jo@b.example>", [("a, a, Jo", "jo@b.example")], ["a"] * 18),
    # No address.
    "name and a local name": ("Mailer <MAILER-DAEMON>", [("Mailer", None)], ["Mailer <MAILER-DAEMON>"]),
    "bare local name": ("root", [("root", None)], ["root"]),
    "bare local name in brackets": ("<MAILER-DAEMON>", [("MAILER-DAEMON", None)], ["<MAILER-DAEMON>"]),
    "bare local name with a comment": ("root (Cron Daemon)", [("Cron Daemon", None)], ["root (Cron Daemon)"]),
    "bad address": ("=?utf-8?q?Caf=C3=A9?= <shop@@b>", [("Café", None)], ["Café <shop@@b>"]),
    "empty brackets": ('"Corner Shop" <>', [("Corner Shop", None)], ['"Corner Shop" <>']),
    "comma and a bad address": ("Roe, Ann <ann@>", [("Roe, Ann", None)], ["Roe, Ann <ann@>"]),
    "only a bad address": ("ann@", [], ["ann@"]),
    "empty group": ("Automated System:;", [("Automated System", None)], []),
    "names and an address": ("root, Jo <@>, jo@b.example", [("", "jo@b.example")], ["root, Jo <@>"]),
    "empty": ("", [], []),
}  # fmt: skip


@pytest.mark.parametrize(("text", "authors", "invalid"), AUTHORS.values(), ids=AUTHORS)
def test_2_5_authors_are_read(text: str, authors: list[tuple[str, str | None]], invalid: list[str]) -> None:
    message = parse(f"From: {text}\n\nx".encode())
    assert [(author.name, author.address) for author in message.from_] == authors
    assert list(message.invalid_addresses) == list(message.invalid_senders) == invalid
    stored = message_fields(message)
    assert [(author["name"], author["address"]) for author in stored["from"]] == authors
    assert stored["invalid_addresses"] == invalid


def test_2_5_a_name_without_an_address_counts_only_if_no_from_has_an_address() -> None:
    assert [author.name for author in parse(b"From: root\nFrom: Jo <jo@b.example>\n\n").from_] == ["Jo"]
    assert [author.name for author in parse(b"From: root\nFrom: jo\n\n").from_] == ["root", "jo"]
    assert len(parse(b"From: " + b"".join(b"n%d <x>, " % n for n in range(2000)) + b"\n\n").from_) == MAX_NAMES


WELL_FORMED = [
    "boss@b.example", "Boss <boss@b.example>", '"Boss, The" <boss@b.example>', "Boss, The <boss@b.example>",
    "boss@b.example (The Boss)", "=?utf-8?q?B=C3=B6ss?= <boss@b.example>", '"B \\"o\\" ss" <boss@b.example>',
    "boss@b.example <boss@b.example>", '"me@c.example" <boss@b.example>', '"the boss"@b.example',
    "<boss@b\u00fccher.example>", "Us: boss@b.example, jo@b.example;", "bo\u200bss@b.example",
]  # fmt: skip
REPAIRED = [
    "Boss, The (boss@b.example)", '"Boss <boss@b.example>"', "Boss [boss@b.example]", "<Boss> <boss@b.example>",
    '"boss@b.example"', '<"boss@b.example">', "Boss (boss@b.example)", "<x boss@b.example>", "x boss@b.example",
    "boss@b.example jo@b.example", "<boss@b.example> jo@b.example", "<boss@b.example> x", "boss @b.example",
    "boss@b .example", "boss(x)@b.example", "<@c.example:boss@b.example>", "<mailto:boss@b.example>",
    "'boss@b.example'",
    "boss@b.example <>", "<boss@b.example", "<<boss@b.example>>", '"x <boss@b.example>', "(x <boss@b.example>",
    "me@c.example <boss@b.example>", "=?utf-8?q?boss=40b.example?=", "boss@b\u200b.example", "boss@\uff42.example",
    "boss@b\u3002example", "boss@b.example>", "Boss boss@b.example>", ">boss@b.example",
]  # fmt: skip


@pytest.mark.parametrize(("text", "repaired"), [*((t, False) for t in WELL_FORMED), *((t, True) for t in REPAIRED)])
def test_3_2_an_author_who_was_repaired_is_marked(text: str, repaired: bool) -> None:
    message = parse(f"From: {text}\n\nx".encode())
    assert message.from_
    assert any(author.repaired for author in message.from_) is repaired
    assert message.invalid_senders == ()


NORMAL = {
    "A@B.Example": "a@b.example",
    '"John"@b.example': "john@b.example",
    '"john.doe"@b.example': "john.doe@b.example",
    '"john doe"@b.example': '"john doe"@b.example',
    '"jo\\hn d"@b.example': '"john d"@b.example',
    '"a\\"b"@b.example': '"a\\"b"@b.example',
    "x@BÜCHER.example": "x@xn--bcher-kva.example",
    "x@xn--bcher-KVA.example": "x@xn--bcher-kva.example",
    "x@bücher。example": "x@xn--bcher-kva.example",
    "JÖRG@b.example": "jörg@b.example",
    "jo\u0308rg@b.example": "jörg@b.example",
    "a@b.example.": "a@b.example",
    "a..b@c.example": "a..b@c.example",
    "a@localhost": "a@localhost",
    "a@[IPv6:2001:DB8::1]": "a@[ipv6:2001:db8::1]",
    "base+ref@b.example": "base+ref@b.example",
    "": None,
    "a": None,
    "@b": None,
    "a@": None,
    "a@b..c": None,
    "a@-b.example": None,
    "a@b@c": None,
    "a b@c.example": None,
    "<a@b.example>": None,
    "a\0@b.example": None,
    "\u202ea@b.example": "a@b.example",
    "a@b.example\u200b": "a@b.example",
    "a@b.example.\ufeff": "a@b.example",
    "a\u00ad.b@c.example": "a.b@c.example",
    '"a\u2060 b"@c.example': '"a b"@c.example',
    "a@b\u00fccher\u200b.example": "a@xn--bcher-kva.example",
    "a@b\u200d.example": "a@b.example",
    # A joiner that a registry accepts is part of the domain. A joiner in a local part is dropped.
    "\u0646\u200c\u0646@\u0646\u0627\u0645\u0647\u200c\u0627\u06cc.example": "\u0646\u0646@xn--mgba3gch31f060k.example",
    "\u200b@b.example": None,
    "a@\u200b": None,
    "a@ b.example": None,
    "a\u0085@b.example": None,
    '"a@b.example': None,
    "a@" + "ü" * 300: None,
    "a@" + "b" * 300: None,
    "a" * 2000 + "@b.example": None,
}


@pytest.mark.parametrize(("written", "normal"), NORMAL.items())
def test_2_1_addresses_are_compared_in_normal_form(written: str, normal: str | None) -> None:
    assert normalise(written) == normal


@pytest.mark.parametrize("written", [address for address in NORMAL.values() if address])
def test_2_1_normalising_twice_changes_nothing(written: str) -> None:
    assert normalise(written) == written


def test_2_1_every_to_and_cc_counts() -> None:
    message = parse(b"To: a@b.example\nTo: c@d.example\nCc: e@f.example,\n g@h.example\nBcc: i@j.example\n\n")
    assert [address.address for address in message.to] == ["a@b.example", "c@d.example"]
    assert [address.address for address in message.cc] == ["e@f.example", "g@h.example"]
    assert [address.address for address in message.bcc] == ["i@j.example"]


def test_2_5_invalid_pieces_are_listed_and_valid_addresses_kept() -> None:
    message = parse(b"From: nobody\nTo: foo, a@b.example\nCc: bar@\n\n")
    assert [address.address for address in message.to] == ["a@b.example"]
    assert message.invalid_addresses == ("nobody", "foo", "bar@")
    assert message.invalid_recipients == ("foo", "bar@")
    assert "From contains invalid addresses" in message.defects


def test_2_5_the_list_of_invalid_pieces_is_limited() -> None:
    message = parse(b"To: " + b"x, " * 5000 + b"a@b.example\nCc: " + b"y" * 5000 + b"\n\n")
    assert [address.address for address in message.to] == ["a@b.example"]
    assert len(message.invalid_addresses) == MAX_INVALID + 1
    assert max(map(len, message.invalid_addresses)) == 320
