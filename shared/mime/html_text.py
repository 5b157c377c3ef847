"""Convert HTML to readable text.

The converter makes one pass over the tokens, without a tree. The time is linear whatever the nesting, and memory is
little more than the text. Tokens are those of the HTML standard's tokenizer (HTML Living Standard, section 13.2.5).
docs/reference/parsing.md lists where the text differs from the standard's tree on purpose, and why no library is used.
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
        (?: "(?P<double>[^"]*+)" | '(?P<single>[^']*+)'     # 13.2.5.36, 37: quoted only right after the equals sign
          | ["'](?P<open>[^>]*+)                         # never closed: it ends with the tag
          | (?P<bare>[^ \t\n\f\r>"'][^ \t\n\f\r>]*+)       # 13.2.5.38: a quote inside belongs to the value
          | (?=>) )
    )?+
"""
_UNNAMED = re.sub(r"\?P<\w+>", "?:", _ATTRIBUTE)
_USUAL_ATTRIBUTES = r"""
    (?: [^>=]++ (?<![ \t\n\f\r/]) =                     # an equals sign right after a name
        (?: "[^"]*+" | '[^']*+' | [^ \t\n\f\r>"'][^ \t\n\f\r>]*+ )
    )*+ [^>=]*+ >
"""
"""The same for attributes as mailers write them, and faster: only names and white space separate two values."""

_TAG_PATTERN = rf"<(/?+)([A-Za-z][^ \t\n\f\r/>]*+)({_USUAL_ATTRIBUTES}|(?:[ \t\n\f\r/]++|{_UNNAMED})*+>)"
_TAG = re.compile(_TAG_PATTERN, re.VERBOSE)
_TOKEN = re.compile(rf"([^<]*+)(?:{_TAG_PATTERN})?+", re.VERBOSE)
"""Text and the tag after it, if any: slash, name, attributes with the closing bracket."""

_ATTRIBUTES = re.compile(rf"[ \t\n\f\r/]*+{_ATTRIBUTE}", re.VERBOSE)
_VISIBLE_TAG = re.compile(r"(?=[^<]*[@.])[^<]{1,320}")
"""Text in angle brackets that readers expect to see, but is a tag by the standard: <ann@example.com>."""
_TRUNCATED_TAG = re.compile(r"<[A-Za-z][A-Za-z0-9:_-]{0,40}\Z")
_BARE = re.compile(r"(?:<(?![A-Za-z/!?])[^<]*+)++")
"""Text that begins with `<` and contains no `<` that begins markup (13.2.5.6)."""
_COMMENT_END = re.compile(r"--!?>")
_SPACES = re.compile(r"[ \t\n\f\r\v]+")
_LONG_NUMBER = re.compile(r"&#0*(?:[0-9]{8,}|[xX][0-9A-Fa-f]{8,});?")
_REFERENCE = re.compile(r"&(?:#[0-9]+;?|#[xX][0-9A-Fa-f]+;?|[^\t\n\f <&#;]{1,32};?)")
_REFERENCE_IN_ATTRIBUTE = re.compile(r"&(?:#[0-9]+;?|#[xX][0-9A-Fa-f]+;?|[A-Za-z][A-Za-z0-9]*(?:;|(?![=A-Za-z0-9])))")
_TEMPLATE = re.compile(rf"<(/?)template{_NAME_END}", re.IGNORECASE)
_SCRIPT = re.compile(rf"<!--|-->|<(/?)script{_NAME_END}", re.IGNORECASE)

_HIDDEN = frozenset({"iframe", "noembed", "noframes", "script", "style", "title"})
"""Elements whose content is text to the tokenizer and is hidden. `template` is hidden too, but contains tags."""

_RAW = {name: re.compile(rf"</{name}{_NAME_END}", re.IGNORECASE) for name in (*_HIDDEN, "textarea", "xmp")}
"""Elements whose content ends only at their own end tag (13.2.5.2, 13.2.5.3)."""

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

# Effects of a tag, by its name.
_NO_EFFECT: Final = 0
_CELL: Final = 1  # outside a table, the tree builder ignores cells and rows (13.2.6.4.7)
_ROW: Final = 2
_BLOCK: Final = 3
_COUNTED_BLOCK: Final = 4  # counted: the end tag of an element that is not open is ignored (13.2.6.4.7)
_COUNTED: Final = 5
_OTHER: Final = 6

_EFFECTS = {
    **dict.fromkeys(_INLINE, _NO_EFFECT),  # unknown names have no effect either
    **dict.fromkeys(_BREAKS, _COUNTED_BLOCK),
    **dict.fromkeys(("body", "frameset", "html", "p"), _BLOCK),
    **dict.fromkeys(("caption", "tbody", "tfoot", "thead", "tr"), _ROW),
    **dict.fromkeys(("td", "th"), _CELL),
    **dict.fromkeys(("a", "area", "br", "hr", "image", "img", "template", *_RAW), _OTHER),
    **dict.fromkeys(("li", "plaintext", *_PREFORMATTED), _COUNTED),
}
_MAX_BREAKS = 2
"""Maximum number of consecutive line breaks."""

_RULE = "-" * 20
_MAX_ALT_LENGTH = 500
_MAX_TARGET_LENGTH = 2000


def html_to_text(source: str) -> str:
    """Return the text of an HTML page. Blocks are on lines of their own, and link targets follow their links."""
    return _Writer(source).run()


class _Writer:
    def __init__(self, source: str) -> None:
        self._source = source
        self._out: list[str] = []
        self._line: list[str] = []  # the text since the last block began, with its white space
        self._breaks = 2  # trailing line breaks of the output; two at the beginning, so that none are written
        self._pre = 0
        self._href = ""
        self._link_from = (0, 0)
        self._open_counts = {"table": 0}
        self._unclosed: set[str] = set()  # elements without an end tag in the rest of the page

    def run(self) -> str:
        offset = 0
        while offset < len(self._source):
            offset = self._process_tokens(offset)
        self._flush()
        return "".join(self._out).strip()

    def _process_tokens(self, offset: int) -> int:  # noqa: C901, PLR0912 - runs for each tag, and calls take time
        """Process text and tags up to the first token of another kind; return the end of that token."""
        effect_of, line, append, open_counts = _EFFECTS.get, self._line, self._line.append, self._open_counts
        for token in _TOKEN.finditer(self._source, offset):
            if text := token[1]:
                append(_unescape(text) if "&" in text else text)
            name = token[3]
            effect = effect_of(name)
            if effect == _NO_EFFECT:
                continue
            if effect is None:
                if name is None:
                    return self._other_markup(token.end())
                if _VISIBLE_TAG.fullmatch(name):
                    append("<")
                    return token.start(2)
                name = name.lower()
                if not (effect := effect_of(name, _NO_EFFECT)):
                    continue
            closing = token[2]
            if effect <= _ROW:
                if not open_counts["table"]:
                    continue
                if effect == _ROW:
                    if line or not self._breaks:
                        self._break(1)
                elif not closing:
                    append(" ")
            elif _BLOCK < effect < _OTHER and not self._is_effective(name, closing):
                continue
            elif effect <= _COUNTED_BLOCK:
                if line or self._breaks < _MAX_BREAKS:
                    self._break(_BREAKS[name])
            else:
                offset = token.end()
                next_offset = self._close(name, offset) if closing else self._open(name, token[4], offset)
                if next_offset != offset:
                    return next_offset
        return len(self._source)

    def _is_effective(self, name: str, closing: str) -> bool:
        """Return whether the tree builder accepts a tag, and update the number of open elements.

        It ignores the end tag of an element that is not open, except `</p>` and `</br>`, which create an element
        (13.2.6.4.7).
        """
        open_counts = self._open_counts
        if name in _HEADINGS:
            name = "h"
        count = open_counts.get(name, 0)
        if not closing:
            open_counts[name] = count + 1
        elif count:
            open_counts[name] = count - 1
        return not closing or count > 0

    def _other_markup(self, offset: int) -> int:
        """Process a comment, a declaration, a tag without end, or a bare `<`; return its end."""
        source = self._source
        if offset == len(source):
            return offset
        following = source[offset + 1 : offset + 2]
        if source.startswith("<!--", offset):
            return self._comment_end(offset)
        if following in {"!", "?"} or (following == "/" and offset + 2 < len(source)):
            end = source.find(">", offset)
            return len(source) if end < 0 else end + 1
        if following.isascii() and following.isalpha() and not _TRUNCATED_TAG.match(source, offset):
            return len(source)  # 13.2.5.8 and following: a tag that never ends is dropped
        if bare := _BARE.match(source, offset):
            self._line.append(_unescape(bare[0]))
            return bare.end()
        self._line.append("<")
        return offset + 1

    def _comment_end(self, offset: int) -> int:
        """Return the end of a comment. An unclosed comment ends at the first `>`, so that no text is lost."""
        for empty in ("<!-->", "<!--->"):
            if self._source.startswith(empty, offset):
                return offset + len(empty)
        end = None if "!--" in self._unclosed else _COMMENT_END.search(self._source, offset + 4)
        if end is not None:
            return end.end()
        self._unclosed.add("!--")
        return (self._source.find(">", offset) + 1) or len(self._source)

    def _open(self, name: str, attributes: str, offset: int) -> int:
        """Process a start tag that ends at `offset`; return where to continue."""
        if name in _RAW:
            return self._process_raw(name, offset)
        if name == "template":
            return self._skip_template(offset)
        if name == "br":
            self._new_line()
        elif name == "a":
            if self._href:
                self._end_link()  # 13.2.6.4.7: a link within a link ends the outer link
            self._href = _attribute_value("href", attributes, _MAX_TARGET_LENGTH)
            self._link_from = len(self._out), len(self._line)
        elif name in {"img", "image", "area"}:
            self._line.append(_attribute_value("alt", attributes, _MAX_ALT_LENGTH))
        else:
            return self._open_block(name, offset)
        return offset

    def _open_block(self, name: str, offset: int) -> int:
        self._break(2 if name in _PREFORMATTED else 1)
        if name == "li":
            self._line.append("* ")
        elif name == "hr":
            self._line.append(_RULE)
            self._break(1)
        elif name == "plaintext":
            self._line.append(self._source[offset:])
            return len(self._source)
        else:
            self._pre += 1
        return offset

    def _close(self, name: str, offset: int) -> int:
        """Process an end tag that ends at `offset`; return where to continue."""
        if name == "a" and self._href:
            self._end_link()
        elif name == "br":
            self._new_line()  # 13.2.6.4.7: `</br>` counts as a start tag
        elif name == "li":
            self._break(1)
        elif name in _PREFORMATTED:
            self._break(2)
            self._pre = max(self._pre - 1, 0)
        return offset

    def _end_link(self) -> None:
        target, self._href = self._href, ""
        if not target.startswith(("http://", "https://", "mailto:")):
            return
        out, line = self._link_from
        flushed = len(self._out) > out
        visible = "".join(self._out[out:]) + "".join(self._line if flushed else self._line[line:])
        if visible.strip() not in {target, target.partition(":")[2]}:
            self._line.append(f" <{target}>")

    def _process_raw(self, name: str, offset: int) -> int:
        """Process an element whose content is text to the tokenizer; return its end.

        If the element is never closed, only its start tag is skipped, so that no text is lost. Code is dropped.
        """
        end = None
        if name not in self._unclosed:
            end = self._find_script_end(offset) if name == "script" else _RAW[name].search(self._source, offset)
        if end is None:
            self._unclosed.add(name)
            return len(self._source) if name in {"script", "style"} else offset
        if name not in _HIDDEN:
            content = self._source[offset : end.start()]
            self._break(1)
            self._line.append(_unescape(content) if name == "textarea" else content)
            self._break(1)
        closing = _TAG.match(self._source, end.start())
        return closing.end() if closing else len(self._source)

    def _find_script_end(self, offset: int) -> re.Match[str] | None:
        """Find the end tag of a script; within a comment with a script it does not count (13.2.5.17, 13.2.5.26)."""
        if "script in a comment" in self._unclosed:
            return _RAW["script"].search(self._source, offset)
        in_comment = in_nested_script = False
        for mark in _SCRIPT.finditer(self._source, offset):
            if mark[0] == "<!--":
                in_comment = True
            elif mark[0] == "-->":
                in_comment = in_nested_script = False
            elif mark[1]:
                if not in_nested_script:
                    return mark
                in_nested_script = False
            else:
                in_nested_script = in_comment
        self._unclosed.add("script in a comment")
        return _RAW["script"].search(self._source, offset)

    def _skip_template(self, offset: int) -> int:
        """Skip a template with its content. If it is never closed, skip only its start tag."""
        depth = 1
        if "template" not in self._unclosed:
            for tag in _TEMPLATE.finditer(self._source, offset):
                depth += -1 if tag[1] else 1
                if not depth:
                    closing = _TAG.match(self._source, tag.start())
                    return closing.end() if closing else len(self._source)
            self._unclosed.add("template")
        return offset

    def _flush(self) -> None:
        """Write the current line. White space is folded except in preformatted text."""
        line = self._line
        if not line:
            return
        text = "".join(line)
        line.clear()
        if "\0" in text:
            text = text.replace("\0", "")
        text = text.replace("\r\n", "\n").replace("\r", "\n") if self._pre else _fold(text)
        if text:
            self._out.append(text)
            self._breaks = 1 if self._pre and text.endswith("\n") else 0

    def _new_line(self) -> None:
        """End the line. At most one empty line follows another."""
        self._flush()
        self._break(min(self._breaks + 1, 2))

    def _break(self, count: int) -> None:
        if self._line:
            self._flush()
        if count > self._breaks:
            self._out.append("\n" * (count - self._breaks))
            self._breaks = count


def _fold(text: str) -> str:
    """Fold ASCII white space, and strip it at both ends. Other spaces are kept."""
    if "\t" in text or "\r" in text or "\f" in text or "\v" in text:
        return _SPACES.sub(" ", text).strip(" ")
    text = text.replace("\n", " ")
    while "  " in text:  # halves each run of spaces: linear time, without the memory of a list of pieces
        text = text.replace("  ", " ")
    return text.strip(" ")


def _attribute_value(name: str, attributes: str, max_length: int) -> str:
    """Return an attribute's value with references resolved; "" if it is missing or longer than `max_length`."""
    if name not in attributes and name not in attributes.lower():
        return ""
    for attribute in _ATTRIBUTES.finditer(attributes):
        if attribute[1].lower() == name:
            value = next((value for value in attribute.group("double", "single", "open", "bare") if value), "")
            if len(value) > max_length:
                return ""
            return _REFERENCE_IN_ATTRIBUTE.sub(lambda reference: _unescape(reference[0]), value)
    return ""


def _unescape(text: str) -> str:
    """Return text with its character references resolved.

    Long numbers are not characters, and `html.unescape` raises an exception for the longest.
    """
    if "&#" in text:
        text = _LONG_NUMBER.sub("\N{REPLACEMENT CHARACTER}", text)
    return _REFERENCE.sub(_resolve, text) if "&" in text else text


def _resolve(reference: re.Match[str]) -> str:
    return _resolve_reference(reference[0])


@lru_cache(maxsize=1024)
def _resolve_reference(reference: str) -> str:
    """Return the character of a reference. The cache helps because a page repeats a few references."""
    return html.unescape(reference)
