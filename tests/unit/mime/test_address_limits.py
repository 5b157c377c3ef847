"""Long lists of addresses: which are cut, and that the fast path agrees with the general parser."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.addresses import MOST_INTERNATIONAL, normalise
from shared.mime import address_list
from shared.mime.address_list import read_list
from shared.mime.address_tokens import MAX_SPECIALS, UNLIMITED_LENGTH, limit_specials
from shared.mime.defects import Defects
from shared.mime.parser import parse

PIECES = st.sampled_from(
    ["a@b.example", "Ann <a@b.example>", " c@d.example ", "O'Hara <o@b.example>", "<a@b.example>", "a b@c.example",
     "=?utf-8?q?J=C3=BCrgen?= M. <j@b.example>", "=?utf-8?b?SsO8?= =?utf-8?b?cmdlbg==?= <j@b.example>",
     "=?x?q?a,b?= <j@b.example>", "=?utf-8?q?<x@y.example>?= <j@b.example>", "=?iso-8859-1?q?=40?=<j@b.example>",
     "=?utf-8?q??= <j@b.example>",
     "nobody", "", " ", "a@b", "'a@b.example'", "Müller <m@b.example>", "a@bücher.example", "a.@b.example", "<@", "x>"]
)  # fmt: skip


@given(st.lists(PIECES, max_size=8))
def test_the_fast_path_agrees_with_the_general_parser(pieces: list[str]) -> None:
    text = ",".join(pieces)
    fast = _read(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(address_list, "_simple_prefix", lambda *_: ([], 0))
        assert _read(text) == fast


def _read(text: str) -> object:
    defects = Defects()
    addresses, invalid = read_list(text, defects)
    return [(address.name, address.address, address.repaired) for address in addresses], invalid, defects.as_tuple()


@pytest.mark.parametrize(
    "text",
    [
        ", ".join(f'"Name, {n}" <u{n}@example.com>' for n in range(2_000)),
        "; ".join(f"u{n}@example.com" for n in range(2_000)),
        " ".join(f"u{n}@example.com" for n in range(900)),
        "n" * 50_000 + " <a@b.example>",
    ],
)
def test_an_ordinary_list_is_not_cut_however_long(text: str) -> None:
    assert len(text) > UNLIMITED_LENGTH
    assert limit_specials(text, Defects()) == text


def test_the_excess_of_one_mailbox_is_cut_and_the_others_stay() -> None:
    defects = Defects()
    addresses, _ = read_list("a@b.example, " + "(<" * 50_000 + ", c@d.example", defects)
    assert [address.address for address in addresses] == ["a@b.example", "c@d.example"]
    assert defects.limit_exceeded
    assert str(MAX_SPECIALS) in defects.as_tuple()[0]


def test_only_the_first_international_domains_are_converted() -> None:
    domains = [f"d\u00fc{number}.example" for number in range(MOST_INTERNATIONAL + 2)]
    text = ", ".join(f"a@{domain}" for domain in [*domains, *domains]) + ", last@example.com"
    data = f"From: x@b.example\nTo: {text}\n\n".encode()
    first, second = parse(data), parse(data)
    assert first == second
    assert {address.address for address in first.to} == {
        *(f"a@{domain}" for domain in domains[:MOST_INTERNATIONAL]),
        "last@example.com",
    }
    assert first.invalid_addresses
    assert normalise(f"a@{domains[-1]}"), "a message's limit is not that of the next one"
    assert [address.address for address in parse(f"To: a@{domains[-1]}\n\n".encode()).to] == [f"a@{domains[-1]}"]
