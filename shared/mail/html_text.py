"""Readable text from HTML.

One pass over the tags, with no tree: the time is linear whatever the nesting, and memory is little more than the text.
Libraries were measured (docs/parsing.md): each of them takes too long for some megabyte, or loses text.
"""

from __future__ import annotations

import html
import re

_TAG = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9:_-]{0,40})(?=[\s/>])")
_QUOTE_OR_END = re.compile("[\"'>]")
_NEXT = re.compile(r"<(?:!--|[!?/]|(?=[A-Za-z]))")
_SPACES = re.compile(r"[ \t\r\n\f\v]+")
_LONG_NUMBER = re.compile(r"&#0*(?:[0-9]{8,}|[xX][0-9A-Fa-f]{8,});?")
_ATTRIBUTE = {
    "alt": re.compile(r"\balt\s{0,9}=\s{0,9}(?:\"([^\"]{1,500})\"|'([^']{1,500})')", re.IGNORECASE),
    "href": re.compile(
        r"\bhref\s{0,9}=\s{0,9}(?:\"([^\"]{1,2000})\"|'([^']{1,2000})'|([^\s>\"']{1,2000}))", re.IGNORECASE
    ),
}

_HIDDEN = frozenset({"head", "iframe", "noframes", "script", "style", "template", "title"})
_LINE = frozenset(
    {
        "address", "article", "aside", "body", "caption", "center", "dd", "details", "dialog", "dir", "div", "dt",
        "fieldset", "figcaption", "figure", "footer", "form", "header", "html", "legend", "li", "main", "menu", "nav",
        "option", "section", "summary", "tbody", "tfoot", "thead", "tr",
    }
)  # fmt: skip
_PARAGRAPH = frozenset({"blockquote", "dl", "h1", "h2", "h3", "h4", "h5", "h6", "ol", "p", "pre", "table", "ul"})
_LONGEST_TAG = 20_000


def html_to_text(source: str) -> str:
    """The text of an HTML page: blocks on lines of their own, paragraphs apart, targets behind their links."""
    return _Writer(source).run()


class _Writer:
    def __init__(self, source: str) -> None:
        self._source = source
        self._out: list[str] = []
        self._breaks = 2  # line breaks that the output ends with; two at the very beginning
        self._space = False
        self._pre = 0
        self._href = ""
        self._link_from = 0
        self._unclosed: set[str] = set()  # elements that are known not to end any more

    def run(self) -> str:
        source, size, at = self._source, len(self._source), 0
        while at < size:
            match = _NEXT.search(source, at)
            start = match.start() if match else size
            if start > at:
                self._text(source[at:start])
            if match is None:
                break
            at = self._markup(start, match[0])
        return "".join(self._out).strip()

    def _markup(self, at: int, opening: str) -> int:
        """Take one comment, declaration or tag; gives where it ends."""
        source = self._source
        if opening == "<!--":
            end = -1 if "!--" in self._unclosed else source.find("-->", at + 2)
            if end < 0:
                self._unclosed.add("!--")
            return self._end_of_junk(at) if end < 0 else end + 3
        tag = _TAG.match(source, at)
        if tag is None:
            return self._end_of_junk(at) if opening in {"<!", "<?", "</"} else self._literal(at)
        name = tag[2].lower()
        end = _end_of_tag(source, tag.end())
        if tag[1]:
            self._close(name)
        elif name in _HIDDEN:
            return self._after_hidden(name, end)
        else:
            self._open(name, source[tag.end() : end])
        return end

    def _literal(self, at: int) -> int:
        self._text("<")
        return at + 1

    def _end_of_junk(self, at: int) -> int:
        end = self._source.find(">", at)
        return len(self._source) if end < 0 else end + 1

    def _after_hidden(self, name: str, at: int) -> int:
        """Skip an element that shows nothing. One that is never closed is skipped alone, unless it holds code."""
        if name not in self._unclosed:
            closing = re.compile(rf"</{name}(?=[\s/>])", re.IGNORECASE).search(self._source, at)
            if closing is not None:
                return _end_of_tag(self._source, closing.end())
            self._unclosed.add(name)
        return len(self._source) if name in {"script", "style"} else at

    def _open(self, name: str, attributes: str) -> None:
        if name == "br":
            self._break(self._breaks + 1 if self._breaks < 2 else 2)  # noqa: PLR2004 - at most one empty line
        elif name == "hr":
            self._break(1)
            self._text("-" * 20)
            self._break(1)
        elif name in _PARAGRAPH:
            self._break(2)
            self._pre += name == "pre"
        elif name in _LINE:
            self._break(1)
            if name == "li":
                self._text("* ")
        elif name in {"td", "th"}:
            self._space = True
        elif name == "img":
            self._text(_attribute("alt", attributes))
        elif name == "a":
            self._href = _attribute("href", attributes)
            self._link_from = len(self._out)

    def _close(self, name: str) -> None:
        if name in _PARAGRAPH:
            self._break(2)
            self._pre = max(self._pre - (name == "pre"), 0)
        elif name in _LINE:
            self._break(1)
        elif name == "a" and self._href:
            target, self._href = self._href, ""
            shown = "".join(self._out[self._link_from :]).strip()
            if target.startswith(("http://", "https://", "mailto:")) and shown not in {
                target,
                target.partition(":")[2],
            }:
                self._text(f" <{target}>", markup=False)

    def _text(self, text: str, *, markup: bool = True) -> None:
        if markup:
            text = _unescaped(text)
        if self._pre:
            self._out.append(text.replace("\r\n", "\n").replace("\r", "\n"))
            self._breaks = 1 if text.endswith("\n") else 0
            return
        folded = _SPACES.sub(" ", text)
        words = folded.strip(" ")
        if not words:
            self._space = self._space or bool(folded)
            return
        if (self._space or folded[0] == " ") and not self._breaks:
            self._out.append(" ")
        self._out.append(words)
        self._space = folded[-1] == " "
        self._breaks = 0

    def _break(self, count: int) -> None:
        if count > self._breaks:
            self._out.append("\n" * (count - self._breaks))
            self._breaks = count
        self._space = False


def _end_of_tag(source: str, at: int) -> int:
    """Where a tag ends whose name ends at `at`: behind its first `>` that is not in quotes.

    What was passed is never looked at again, so a tag without end ends where the search for it does.
    """
    limit = min(at + _LONGEST_TAG, len(source))
    while match := _QUOTE_OR_END.search(source, at, limit):
        if match[0] == ">":
            return match.end()
        at = source.find(match[0], match.end(), limit) + 1
        if not at:  # the quote is never closed
            at = source.find(">", match.end(), limit) + 1
            return at or limit
    return limit


def _attribute(name: str, attributes: str) -> str:
    match = _ATTRIBUTE[name].search(attributes)
    return _unescaped(next(filter(None, match.groups()), "")) if match else ""


def _unescaped(text: str) -> str:
    """Text with its character references resolved.

    Long numbers are no characters, and `html.unescape` raises for the longest.
    """
    return html.unescape(_LONG_NUMBER.sub("\N{REPLACEMENT CHARACTER}", text)) if "&" in text else text
