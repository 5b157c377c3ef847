"""`format=flowed` text (RFC 3676) is unfolded in `text`."""

import tracemalloc

import pytest

from shared.mime.body_selection import unfold_flowed
from shared.mime.parser import parse

CASES = {
    "a paragraph": ("one \ntwo \nthree\nfour", "one two three\nfour", "onetwothree\nfour"),
    "empty lines": ("one \ntwo\n\nthree", "one two\n\nthree", "onetwo\n\nthree"),
    "quotes": (">one \n>two\n>>three \n>>four\nfive", "> one two\n>> three four\nfive", "> onetwo\n>> threefour\nfive"),
    "stuffed": (" From here\n >no quote\n  two", "From here\n>no quote\n two", "From here\n>no quote\n two"),
    "stuffed quotes": ("> one \n> two\n>\n> three", "> one two\n>\n> three", "> onetwo\n>\n> three"),
    "a quote that ends early": ("> one \ntwo", "> one \ntwo", "> one\ntwo"),
    "a signature": ("one \n-- \nname \n", "one \n-- \nname ", "one\n-- \nname"),
    "a quoted signature": ("> a \n> -- \n> b", "> a \n> -- \n> b", "> a\n> -- \n> b"),
    "open at the end": ("one \ntwo ", "one two ", "onetwo"),
    "nothing": ("", "", ""),
}


@pytest.mark.parametrize("line_end", ["\n", "\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize(("source", "text", "joined"), CASES.values(), ids=CASES)
def test_7_3_flowed_text_is_unfolded(source: str, text: str, joined: str, line_end: str) -> None:
    for parameters, expected in (
        ("; format=flowed", text),
        ('; Format="Flowed"; DelSp=no', text),
        ("; format=flowed; delsp=Yes", joined),
        ("; format=fixed; delsp=yes", source),
        ("", source),
    ):
        message = parse(f"Content-Type: text/plain{parameters}\n\n{source}".replace("\n", line_end).encode())
        assert message.text == expected
        assert message.defects == ()


def test_7_3_only_text_is_unfolded() -> None:
    parts = "--b\nContent-Type: text/html; format=flowed\n\none \ntwo\n--b\n"
    parts += "Content-Type: text/plain; format=flowed\nContent-Disposition: attachment\n\none \ntwo\n--b--\n"
    message = parse(f"Content-Type: multipart/mixed; boundary=b\n\n{parts}".encode())
    assert message.html == "one \ntwo"
    assert b"".join(message.attachments[0].chunks()) == b"one \ntwo"


@pytest.mark.parametrize("line", ["ab \n", "ab\n", "ab \ncd\n", "> ab \n"])
def test_7_6_many_short_lines_take_little_memory(line: str) -> None:
    text = line * (1_000_000 // len(line))
    tracemalloc.start()
    unfold_flowed(text, delete_space=False)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6 * len(text)


def test_7_3_a_long_text_is_read_like_a_short_one() -> None:
    count = 30_000
    assert unfold_flowed("ab \n" * count, delete_space=False) == "ab " * count
    assert unfold_flowed("ab\n" * count, delete_space=False) == "ab\n" * count
    assert unfold_flowed("ab \ncd\n" * count, delete_space=False) == "ab cd\n" * count
    assert unfold_flowed("> ab \n" * count, delete_space=False) == f"> {'ab ' * count}\n"
    assert unfold_flowed("\n" * 10 * count, delete_space=False) == "\n" * 10 * count
