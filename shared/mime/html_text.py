"""Readable text from HTML.

One pass over the tokens, without a tree: the time is linear whatever the nesting, and memory is little more than the
text. Tokens are those of the HTML standard's tokenizer (HTML Living Standard, section 13.2.5).
docs/reference/parsing.md says
where the text differs from the standard's tree on purpose, and why no library does this.
"""

from __future__ import annotations

import html
import re

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
_TAG = re.compile(
    rf"<(?P<closing>/?+)(?P<tag>[A-Za-z][^ \t\n\f\r/>]*+)(?P<attributes>(?:[ \t\n\f\r/]++|{_UNNAMED})*+)>", re.VERBOSE
)
_ATTRIBUTES = re.compile(rf"[ \t\n\f\r/]*+{_ATTRIBUTE}", re.VERBOSE)
_SHOWN = re.compile(r"(?=[^<]*[@.])[^<]{1,320}")
"""What a reader wants to see and the standard takes for a tag: <ann@example.com>, of 320 bytes at most."""
_CUT_OFF = re.compile(r"<[A-Za-z][A-Za-z0-9:_-]{0,40}\Z")
_COMMENT_END = re.compile(r"--!?>")
_SPACES = re.compile(r"[ \t\n\f\r\v]+")
_UNFOLDED = re.compile(r"[\t\n\f\r\v]|  ")
_LONG_NUMBER = re.compile(r"&#0*(?:[0-9]{8,}|[xX][0-9A-Fa-f]{8,});?")
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
_IN_TABLE = frozenset({"caption", "tbody", "td", "tfoot", "th", "thead", "tr"})
"""What the tree builder ignores outside of a table (13.2.6.4.7)."""
_SPECIAL = frozenset(
    {"a", "area", "br", "hr", "image", "img", "li", "plaintext", "td", "template", "th", *_RAW, *_PREFORMATTED}
)
_KNOWN = frozenset({*_BREAKS, *_SPECIAL})

_HEADINGS = frozenset({"h1", "h2", "h3", "h4", "h5", "h6"})
_ALWAYS = frozenset(
    {"a", "area", "body", "br", "frameset", "head", "hr", "html", "image", "img", "p", "template", *_RAW}
)
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
        self._opened: dict[str, int] = {}
        self._unclosed: set[str] = set()  # elements that are known not to end any more

    def run(self) -> str:
        source, at = self._source, 0
        find, match, line = source.find, _TAG.match, self._line
        while (start := find("<", at)) >= 0:
            if start > at:
                text = source[at:start]
                line.append(_unescaped(text) if "&" in text else text)
            tag = match(source, start)
            if tag is None:
                at = self._other_markup(start)
                continue
            closing, name, attributes = tag.groups()
            if name not in _KNOWN:
                if _SHOWN.fullmatch(name):
                    line.append("<")
                    at = start + 1
                    continue
                name = name.lower()
            at = tag.end()
            if name in _KNOWN and self._counts(name, closing):
                if name in _BREAKS:
                    self._break(_BREAKS[name])
                else:
                    at = self._close(name, at) if closing else self._open(name, attributes, at)
        line.append(_unescaped(source[at:]))
        self._flush()
        return "".join(self._out).strip()

    def _counts(self, name: str, closing: str) -> bool:
        """Return whether the tree builder makes something of a tag, and note which elements are open.

        It ignores parts of a table outside of a table, and the end tag of an element that is not open, but for `</p>`
        and `</br>`, which create an element (13.2.6.4.7).
        """
        if name in _IN_TABLE:
            return self._opened.get("table", 0) > 0
        if name in _ALWAYS:
            return True
        name = "h" if name in _HEADINGS else name
        count = self._opened.get(name, 0)
        self._opened[name] = max(count - 1, 0) if closing else count + 1
        return not closing or count > 0

    def _other_markup(self, at: int) -> int:
        """Take a comment, a declaration, a tag without end, or a bare `<`; return where it ends."""
        source = self._source
        following = source[at + 1 : at + 2]
        if source.startswith("<!--", at):
            return self._comment(at)
        if following in {"!", "?"} or (following == "/" and at + 2 < len(source)):
            end = source.find(">", at)
            return len(source) if end < 0 else end + 1
        if following.isascii() and following.isalpha() and not _CUT_OFF.match(source, at):
            return len(source)  # 13.2.5.8 and following: a tag that never ends is dropped
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
        elif name in {"td", "th"}:
            self._line.append(" ")
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
        if not self._line:
            return
        text = "".join(self._line).replace("\0", "")
        self._line.clear()
        if self._pre:
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        else:
            if _UNFOLDED.search(text):
                text = _SPACES.sub(" ", text)
            text = text.strip(" ")
        if text:
            self._out.append(text)
            self._breaks = 1 if self._pre and text.endswith("\n") else 0

    def _new_line(self) -> None:
        """End the line; there is at most one empty line in a row."""
        self._flush()
        self._break(min(self._breaks + 1, 2))

    def _break(self, count: int) -> None:
        self._flush()
        if count > self._breaks:
            self._out.append("\n" * (count - self._breaks))
            self._breaks = count


def _attribute(name: str, attributes: str, longest: int) -> str:
    """Return an attribute's value with its references resolved; "" if there is none, or it is longer than `longest`."""
    for found in _ATTRIBUTES.finditer(attributes):
        if found["name"].lower() == name:
            value = next((value for value in found.group("double", "single", "open", "bare") if value), "")
            if len(value) > longest:
                return ""
            return _REFERENCE_IN_ATTRIBUTE.sub(lambda reference: _unescaped(reference[0]), value)
    return ""


def _unescaped(text: str) -> str:
    """Return text with its character references resolved.

    Long numbers are no characters, and `html.unescape` raises for the longest.
    """
    return html.unescape(_LONG_NUMBER.sub("\N{REPLACEMENT CHARACTER}", text)) if "&" in text else text
