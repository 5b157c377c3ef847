"""Readable text from HTML.

One pass over the tokens, without a tree: the time is linear whatever the nesting, and memory is little more than the
text. Tokens are those of the HTML standard's tokenizer (HTML Living Standard, section 13.2.5).
docs/reference/parsing.md says
where the text differs from the standard's tree on purpose, and why no library does this.
"""

from __future__ import annotations

import html
import re
from functools import lru_cache
from typing import Final

_SPACE = r"[ \t\n\f\r]"
_NAME_END = r"(?=[ \t\n\f\r/>])"
_ATTRIBUTE = rf"""
    (?P<name>[^ \t\n\f\r/>][^ \t\n\f\r/>=]*+)           # 13.2.5.33: an equals sign at its start belongs to the name
    (?:{_SPACE}*+={_SPACE}*+
        (?: "(?P<double>[^"]*+)" | '(?P<single>[^']*+)'     # 13.2.5.36, 37: quoted only right behind the equals sign
          | ["'](?P<open>[^>]*+)                         # never closed: it ends with the tag
          | (?P<bare>[^ \t\n\f\r>"'][^ \t\n\f\r>]*+)       # 13.2.5.38: a quote inside belongs to the value
          | (?=>) )
    )?+
"""
_UNNAMED = re.sub(r"\?P<\w+>", "?:", _ATTRIBUTE)
_USUAL_ATTRIBUTES = r"""
    (?: [^>=]++ (?<![ \t\n\f\r/]) =                     # an equals sign right behind a name
        (?: "[^"]*+" | '[^']*+' | [^ \t\n\f\r>"'][^ \t\n\f\r>]*+ )
    )*+ [^>=]*+ >
"""
"""The same for what mailers write, and faster: whatever stands between two values is names and white space."""

_TAG_PATTERN = rf"<(/?+)([A-Za-z][^ \t\n\f\r/>]*+)({_USUAL_ATTRIBUTES}|(?:[ \t\n\f\r/]++|{_UNNAMED})*+>)"
_TAG = re.compile(_TAG_PATTERN, re.VERBOSE)
_TOKEN = re.compile(rf"([^<]*+)(?:{_TAG_PATTERN})?+", re.VERBOSE)
"""Text, and the tag behind it, if a tag is there: slash, name, attributes with the closing bracket."""

_ATTRIBUTES = re.compile(rf"[ \t\n\f\r/]*+{_ATTRIBUTE}", re.VERBOSE)
_SHOWN = re.compile(r"(?=[^<]*[@.])[^<]{1,320}")
"""What a reader wants to see and the standard takes for a tag: <ann@example.com>, of 320 bytes at most."""
_CUT_OFF = re.compile(r"<[A-Za-z][A-Za-z0-9:_-]{0,40}\Z")
_BARE = re.compile(r"(?:<(?![A-Za-z/!?])[^<]*+)++")
"""Text that begins with a `<`, and in which no `<` begins markup (13.2.5.6)."""
_COMMENT_END = re.compile(r"--!?>")
_SPACES = re.compile(r"[ \t\n\f\r\v]+")
_LONG_NUMBER = re.compile(r"&#0*(?:[0-9]{8,}|[xX][0-9A-Fa-f]{8,});?")
_REFERENCE = re.compile(r"&(?:#[0-9]+;?|#[xX][0-9A-Fa-f]+;?|[^\t\n\f <&#;]{1,32};?)")
_REFERENCE_IN_ATTRIBUTE = re.compile(r"&(?:#[0-9]+;?|#[xX][0-9A-Fa-f]+;?|[A-Za-z][A-Za-z0-9]*(?:;|(?![=A-Za-z0-9])))")
_TEMPLATE = re.compile(rf"<(/?)template{_NAME_END}", re.IGNORECASE)
_SCRIPT = re.compile(rf"<!--|-->|<(/?)script{_NAME_END}", re.IGNORECASE)

_HIDDEN = frozenset({"iframe", "noembed", "noframes", "script", "style", "title"})
"""Their content is text to the tokenizer, and is not shown. `template` is hidden too, and holds tags."""

_RAW = {name: re.compile(rf"</{name}{_NAME_END}", re.IGNORECASE) for name in (*_HIDDEN, "textarea", "xmp")}
"""Elements whose content ends at their own end tag and at no other (13.2.5.2, 13.2.5.3)."""

_LINE = frozenset(
    {
        "address", "article", "aside", "body", "button", "caption", "center", "dd", "details", "dialog", "dir", "div",
        "dt", "fieldset", "figcaption", "figure", "footer", "form", "frameset", "header", "hgroup", "html", "legend",
        "main", "menu", "nav", "optgroup", "option", "search", "section", "select", "summary", "tbody", "tfoot",
        "thead", "tr",
    }
)  # fmt: skip
_PARAGRAPH = frozenset({"blockquote", "dl", "h1", "h2", "h3", "h4", "h5", "h6", "ol", "p", "table", "ul"})
_PREFORMATTED = frozenset({"listing", "pre"})

_BREAKS = dict.fromkeys(_LINE, 1) | dict.fromkeys(_PARAGRAPH, 2)
_HEADINGS = frozenset({"h1", "h2", "h3", "h4", "h5", "h6"})
_INLINE = (
    "abbr", "acronym", "b", "base", "big", "cite", "code", "col", "colgroup", "del", "dfn", "em", "font", "head", "i",
    "input", "ins", "kbd", "label", "link", "map", "meta", "nobr", "noscript", "o:p", "q", "s", "samp", "small",
    "span", "strike", "strong", "sub", "sup", "tt", "u", "var", "wbr",
)  # fmt: skip

# What a tag does, by its name.
_NOTHING: Final = 0
_CELL: Final = 1  # ignored by the tree builder outside of a table (13.2.6.4.7), and so is a row
_ROW: Final = 2
_BLOCK: Final = 3
_COUNTED_BLOCK: Final = 4  # counted: the end tag of an element that is not open is ignored (13.2.6.4.7)
_COUNTED: Final = 5
_OTHER: Final = 6

_EFFECTS = {
    **dict.fromkeys(_INLINE, _NOTHING),  # any name that is not here does nothing as well
    **dict.fromkeys(_BREAKS, _COUNTED_BLOCK),
    **dict.fromkeys(("body", "frameset", "html", "p"), _BLOCK),
    **dict.fromkeys(("caption", "tbody", "tfoot", "thead", "tr"), _ROW),
    **dict.fromkeys(("td", "th"), _CELL),
    **dict.fromkeys(("a", "area", "br", "hr", "image", "img", "template", *_RAW), _OTHER),
    **dict.fromkeys(("li", "plaintext", *_PREFORMATTED), _COUNTED),
}
_ENOUGH = 2
"""Line breaks: never more in a row."""

_RULE = "-" * 20
_LONGEST_ALT = 500
_LONGEST_TARGET = 2000


def html_to_text(source: str) -> str:
    """Return the text of an HTML page: blocks on lines of their own, targets behind their links."""
    return _Writer(source).run()


class _Writer:
    def __init__(self, source: str) -> None:
        self._source = source
        self._out: list[str] = []
        self._line: list[str] = []  # the text since the last block began, with its white space
        self._breaks = 2  # line breaks that the output ends with; two at the very beginning
        self._pre = 0
        self._href = ""
        self._link_from = (0, 0)
        self._opened = {"table": 0}
        self._unclosed: set[str] = set()  # elements that are known not to end any more

    def run(self) -> str:
        at = 0
        while at < len(self._source):
            at = self._tokens(at)
        self._flush()
        return "".join(self._out).strip()

    def _tokens(self, at: int) -> int:  # noqa: C901, PLR0912 - runs for each tag, and calls take time
        """Take text and tags up to the first place where anything else follows; return where that ends."""
        effect_of, line, append, opened = _EFFECTS.get, self._line, self._line.append, self._opened
        for token in _TOKEN.finditer(self._source, at):
            if text := token[1]:
                append(_unescaped(text) if "&" in text else text)
            name = token[3]
            effect = effect_of(name)
            if effect == _NOTHING:
                continue
            if effect is None:
                if name is None:
                    return self._other_markup(token.end())
                if _SHOWN.fullmatch(name):
                    append("<")
                    return token.start(2)
                name = name.lower()
                if not (effect := effect_of(name, _NOTHING)):
                    continue
            closing = token[2]
            if effect <= _ROW:
                if not opened["table"]:
                    continue
                if effect == _ROW:
                    if line or not self._breaks:
                        self._break(1)
                elif not closing:
                    append(" ")
            elif _BLOCK < effect < _OTHER and not self._counts(name, closing):
                continue
            elif effect <= _COUNTED_BLOCK:
                if line or self._breaks < _ENOUGH:
                    self._break(_BREAKS[name])
            else:
                at = token.end()
                after = self._close(name, at) if closing else self._open(name, token[4], at)
                if after != at:
                    return after
        return len(self._source)

    def _counts(self, name: str, closing: str) -> bool:
        """Return whether the tree builder makes something of a tag, and note which elements are open.

        It ignores the end tag of an element that is not open, but for `</p>` and `</br>`, which create an element
        (13.2.6.4.7).
        """
        opened = self._opened
        if name in _HEADINGS:
            name = "h"
        count = opened.get(name, 0)
        if not closing:
            opened[name] = count + 1
        elif count:
            opened[name] = count - 1
        return not closing or count > 0

    def _other_markup(self, at: int) -> int:
        """Take a comment, a declaration, a tag without end, or a bare `<`; return where it ends."""
        source = self._source
        if at == len(source):
            return at
        following = source[at + 1 : at + 2]
        if source.startswith("<!--", at):
            return self._comment(at)
        if following in {"!", "?"} or (following == "/" and at + 2 < len(source)):
            end = source.find(">", at)
            return len(source) if end < 0 else end + 1
        if following.isascii() and following.isalpha() and not _CUT_OFF.match(source, at):
            return len(source)  # 13.2.5.8 and following: a tag that never ends is dropped
        if bare := _BARE.match(source, at):
            self._line.append(_unescaped(bare[0]))
            return bare.end()
        self._line.append("<")
        return at + 1

    def _comment(self, at: int) -> int:
        """Return the end of the comment at a position; the first `>` if it is never closed, so that no text is lost."""
        for empty in ("<!-->", "<!--->"):
            if self._source.startswith(empty, at):
                return at + len(empty)
        end = None if "!--" in self._unclosed else _COMMENT_END.search(self._source, at + 4)
        if end is not None:
            return end.end()
        self._unclosed.add("!--")
        return (self._source.find(">", at) + 1) or len(self._source)

    def _open(self, name: str, attributes: str, at: int) -> int:
        """Take a start tag that ends at `at`; return where to go on."""
        if name in _RAW:
            return self._raw(name, at)
        if name == "template":
            return self._after_template(at)
        if name == "br":
            self._new_line()
        elif name == "a":
            if self._href:
                self._end_link()  # 13.2.6.4.7: a link within a link ends it
            self._href = _attribute("href", attributes, _LONGEST_TARGET)
            self._link_from = len(self._out), len(self._line)
        elif name in {"img", "image", "area"}:
            self._line.append(_attribute("alt", attributes, _LONGEST_ALT))
        else:
            return self._open_block(name, at)
        return at

    def _open_block(self, name: str, at: int) -> int:
        self._break(2 if name in _PREFORMATTED else 1)
        if name == "li":
            self._line.append("* ")
        elif name == "hr":
            self._line.append(_RULE)
            self._break(1)
        elif name == "plaintext":
            self._line.append(self._source[at:])
            return len(self._source)
        else:
            self._pre += 1
        return at

    def _close(self, name: str, at: int) -> int:
        """Take an end tag that ends at `at`; return where to go on."""
        if name == "a" and self._href:
            self._end_link()
        elif name == "br":
            self._new_line()  # 13.2.6.4.7: it counts as a start tag
        elif name == "li":
            self._break(1)
        elif name in _PREFORMATTED:
            self._break(2)
            self._pre = max(self._pre - 1, 0)
        return at

    def _end_link(self) -> None:
        target, self._href = self._href, ""
        if not target.startswith(("http://", "https://", "mailto:")):
            return
        out, line = self._link_from
        flushed = len(self._out) > out
        shown = "".join(self._out[out:]) + "".join(self._line if flushed else self._line[line:])
        if shown.strip() not in {target, target.partition(":")[2]}:
            self._line.append(f" <{target}>")

    def _raw(self, name: str, at: int) -> int:
        """Take an element whose content is text to the tokenizer; return where it ends.

        One that is never closed is taken without its content, unless that is code: no text is lost.
        """
        end = None
        if name not in self._unclosed:
            end = self._end_of_script(at) if name == "script" else _RAW[name].search(self._source, at)
        if end is None:
            self._unclosed.add(name)
            return len(self._source) if name in {"script", "style"} else at
        if name not in _HIDDEN:
            content = self._source[at : end.start()]
            self._break(1)
            self._line.append(_unescaped(content) if name == "textarea" else content)
            self._break(1)
        closing = _TAG.match(self._source, end.start())
        return closing.end() if closing else len(self._source)

    def _end_of_script(self, at: int) -> re.Match[str] | None:
        """Find the end tag of a script: not the first, where a comment in it holds a script (13.2.5.17, 13.2.5.26)."""
        if "script in a comment" in self._unclosed:
            return _RAW["script"].search(self._source, at)
        in_comment = doubled = False
        for found in _SCRIPT.finditer(self._source, at):
            if found[0] == "<!--":
                in_comment = True
            elif found[0] == "-->":
                in_comment = doubled = False
            elif found[1]:
                if not doubled:
                    return found
                doubled = False
            else:
                doubled = in_comment
        self._unclosed.add("script in a comment")
        return _RAW["script"].search(self._source, at)

    def _after_template(self, at: int) -> int:
        """Skip a template with what is in it; a template that is never closed is skipped without its content."""
        depth = 1
        if "template" not in self._unclosed:
            for found in _TEMPLATE.finditer(self._source, at):
                depth += -1 if found[1] else 1
                if not depth:
                    closing = _TAG.match(self._source, found.start())
                    return closing.end() if closing else len(self._source)
            self._unclosed.add("template")
        return at

    def _flush(self) -> None:
        """Write the line, with its white space folded unless it is preformatted."""
        line = self._line
        if not line:
            return
        text = "".join(line)
        line.clear()
        if "\0" in text:
            text = text.replace("\0", "")
        text = text.replace("\r\n", "\n").replace("\r", "\n") if self._pre else _folded(text)
        if text:
            self._out.append(text)
            self._breaks = 1 if self._pre and text.endswith("\n") else 0

    def _new_line(self) -> None:
        """End the line; there is at most one empty line in a row."""
        self._flush()
        self._break(min(self._breaks + 1, 2))

    def _break(self, count: int) -> None:
        if self._line:
            self._flush()
        if count > self._breaks:
            self._out.append("\n" * (count - self._breaks))
            self._breaks = count


def _folded(text: str) -> str:
    """Return text with its white space folded, and none at its ends. Other spaces than those of ASCII stay."""
    if "\t" in text or "\r" in text or "\f" in text or "\v" in text:
        return _SPACES.sub(" ", text).strip(" ")
    text = text.replace("\n", " ")
    while "  " in text:  # halves each run of spaces: the time is linear, and no list of pieces takes memory
        text = text.replace("  ", " ")
    return text.strip(" ")


def _attribute(name: str, attributes: str, longest: int) -> str:
    """Return an attribute's value with its references resolved; "" if there is none, or it is longer than `longest`."""
    if name not in attributes and name not in attributes.lower():
        return ""
    for found in _ATTRIBUTES.finditer(attributes):
        if found[1].lower() == name:
            value = next((value for value in found.group("double", "single", "open", "bare") if value), "")
            if len(value) > longest:
                return ""
            return _REFERENCE_IN_ATTRIBUTE.sub(lambda reference: _unescaped(reference[0]), value)
    return ""


def _unescaped(text: str) -> str:
    """Return text with its character references resolved.

    Long numbers are no characters, and `html.unescape` raises for the longest.
    """
    if "&#" in text:
        text = _LONG_NUMBER.sub("\N{REPLACEMENT CHARACTER}", text)
    return _REFERENCE.sub(_resolved, text) if "&" in text else text


def _resolved(reference: re.Match[str]) -> str:
    return _character(reference[0])


@lru_cache(maxsize=1024)
def _character(reference: str) -> str:
    """Return what a character reference means. A page has few of them, again and again."""
    return html.unescape(reference)
