"""Random HTML pages, from well-formed newsletters to tag soup. The same seed gives the same page."""

from __future__ import annotations

import random
from collections.abc import Callable

_WORDS = (
    "order", "invoice", "lamp", "parcel", "Monday", "grün", "Köln", "tracking", "number", "thank", "you",
    "please", "find", "attached", "4711", "77", "€", "café",
)  # fmt: skip
_INLINE = ("b", "i", "span", "font", "u", "em", "strong", "a", "small", "o:p", "code", "sup")
_BLOCKS = ("div", "p", "center", "blockquote", "h1", "h3", "section", "pre", "address", "form", "main")
_VOID = (
    "<br>",
    "<br/>",
    "<hr>",
    "<wbr>",
    '<img src="x.png">',
    '<img alt="Logo" src=cid:1>',
    "<input value=5>",
    "<meta x>",
)
_ATTRIBUTES = (
    ' style="color:#336699"', " align=center", ' href="/a?b=1&c=2"', " bgcolor=#fff", " nowrap",
    ' title="a > b"', " class='one two'", ' width="100%"', " data-x", ' lang = "de"',
)  # fmt: skip
_BAD_ATTRIBUTES = (
    ' color=#336699"', ' href="x""', ' a"b', " =", ' ="x"', " /", " x=/y", " x='a\"b'", ' x="a\'b"', " x=y\"z'",
)  # fmt: skip
_MARKUP = (
    "<!-- a note -->", "<!--[if mso]><p>Outlook</p><![endif]-->", "<![if !mso]>", "<![endif]>",
    "<!DOCTYPE html>", "<?xml?>",
    "<!-->", "<!--->", "<!-- a --!>", "</>", "</ p>", "<style>p{color:red}</style>",
    "<script>if (1<2) a('</p>')</script>",
    "<script><!-- <script> </script> --></script>", "<title>T</title>", "<template><p>mould</p></template>",
    "<noscript>no script</noscript>", "<textarea>a <b> c</textarea>", "<xmp>x <i> y</xmp>", "<iframe>frame</iframe>",
    "<select><option>one<option>two</select>", "<noframes>none</noframes>", "<svg><path d='M0'/></svg>",
)  # fmt: skip
_CHARACTERS = (
    "&amp;",
    "&lt;tag&gt;",
    "&nbsp;",
    "&euro;",
    "&#8364;",
    "&#x20AC;",
    "&copy",
    "&notit;",
    "&",
    "1 < 2",
    "a>b",
    "\0",
)


class _Soup:
    def __init__(self, source: random.Random, wildness: float) -> None:
        self._source = source
        self._wild = wildness

    def page(self) -> str:
        body = "".join(self._block(0) for _ in range(self._source.randrange(1, 8)))
        return self._source.choice(_FRAMES)(body)

    def _text(self) -> str:
        words = [self._source.choice(_WORDS) for _ in range(self._source.randrange(1, 9))]
        if self._source.random() < 0.2:
            words.insert(self._source.randrange(len(words)), self._source.choice(_CHARACTERS))
        return self._source.choice((" ", " ", "\n", "  ")).join(words)

    def _attributes(self) -> str:
        kinds = _BAD_ATTRIBUTES if self._source.random() < self._wild else _ATTRIBUTES
        return "".join(self._source.choice(kinds) for _ in range(self._source.choice((0, 0, 1, 1, 2, 5))))

    def _element(self, name: str, content: str) -> str:
        name = name.upper() if self._source.random() < 0.1 else name
        start = f"<{name}{self._attributes()}>"
        chance = self._source.random()
        if chance < self._wild / 3:
            return start + content  # never closed
        if chance < self._wild / 2:
            return f"{start}{content}</{self._source.choice(_INLINE + _BLOCKS)}>"  # closed by another tag
        return f"{start}{content}</{name}{' ' if chance > 0.97 else ''}>"

    def _inline(self, depth: int) -> str:
        pieces = []
        for _ in range(self._source.randrange(1, 5)):
            chance = self._source.random()
            if chance < 0.25 and depth < 4:
                pieces.append(self._element(self._source.choice(_INLINE), self._inline(depth + 1)))
            elif chance < 0.35:
                pieces.append(self._source.choice(_VOID))
            elif chance < 0.38 + self._wild / 4:
                pieces.append(self._source.choice(_MARKUP))
            else:
                pieces.append(self._text())
        return self._source.choice(("", " ")).join(pieces)

    def _block(self, depth: int) -> str:
        chance = self._source.random()
        if chance < 0.2 and depth < 4:
            return self._table(depth)
        if chance < 0.3 and depth < 4:
            items = "".join(self._item(depth) for _ in range(self._source.randrange(1, 4)))
            return self._element(self._source.choice(("ul", "ol")), items)
        if chance < 0.5 and depth < 4:
            inner = "".join(self._block(depth + 1) for _ in range(self._source.randrange(1, 3)))
            return self._element(self._source.choice(_BLOCKS), inner)
        if chance < 0.9:
            return self._element(self._source.choice(_BLOCKS), self._inline(0))
        return self._inline(0)

    def _item(self, depth: int) -> str:
        content = self._inline(1) if self._source.random() < 0.7 else self._block(depth + 1)
        return self._element("li", content) if self._source.random() > self._wild else f"<li>{content}"

    def _table(self, depth: int) -> str:
        rows = []
        for _ in range(self._source.randrange(1, 4)):
            cells = [
                self._element(
                    self._source.choice(("td", "td", "th")),
                    self._inline(1) if self._source.random() < 0.6 else self._block(depth + 1),
                )
                for _ in range(self._source.randrange(1, 4))
            ]
            rows.append(self._element("tr", "".join(cells)))
        content = "\n".join(rows)
        return self._element("table", self._element("tbody", content) if self._source.random() < 0.5 else content)


_FRAMES: tuple[Callable[[str], str], ...] = (
    lambda body: f"<!DOCTYPE html><html><head><title>T</title><style>p{{}}</style></head><body>{body}</body></html>",
    lambda body: f"<html><head><meta charset=utf-8>{body}</head></html>",
    lambda body: f"<html><head><title>x</title><body bgcolor=#ffffff>{body}</body></head></html>",
    lambda body: body,
    lambda body: f"<HTML><BODY>{body}",
)


def tag_soup(seed: int) -> str:
    """Return a random page. Every third is well formed, the others have from few to many errors."""
    source = random.Random(seed)
    return _Soup(source, (0.0, 0.08, 0.35)[seed % 3]).page()
