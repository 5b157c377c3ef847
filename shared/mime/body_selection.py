"""Select the text and the attachments among a message's parts (RFC 2046 section 5.1, RFC 2183, RFC 2387).

`TextReader` decodes the selected parts, and unfolds `format=flowed` text (RFC 3676).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from shared.mime.base64_extent import find_data_end
from shared.mime.buffer import Buffer
from shared.mime.charsets import decode, html_charset
from shared.mime.defects import Defects
from shared.mime.encoded_words import decode_words, header_text
from shared.mime.headers import Headers, ParametrisedValue, parse_parameters
from shared.mime.html_text import html_to_text
from shared.mime.multipart import Part
from shared.mime.tnef import slice_pieces
from shared.mime.transfer_encoding import (
    IDENTITY,
    UNENCODED,
    UUENCODED,
    UuencodedFile,
    decode_pieces,
    find_uuencoded_files,
    parse_transfer_encoding,
    remove_uuencoded_files,
)

MAX_TEXT = 5 * 1024 * 1024
"""Maximum size of a message's text as sent, in bytes. Further text becomes an attachment, which bounds memory."""

_TEXT_TYPES = frozenset({"text/plain", "text/html"})

# Text types that programs read: always files. All other text types are shown as plain text in the position of the body
# (RFC 2046 section 4.1.4). Source: the IANA registry of media types, and older names.
_FILE_TYPES = frozenset(
    f"text/{subtype}"
    for subtype in (
        "cache-manifest", "calendar", "comma-separated-values", "css", "csv", "csv-schema", "directory", "ecmascript",
        "javascript", "json", "rfc822-headers", "rtf", "tab-separated-values", "vcard", "vtt", "x-amp-html",
        "x-comma-separated-values", "x-csv", "x-json", "x-ms-contact", "x-vcalendar", "x-vcard", "xml",
        "xml-external-parsed-entity",
    )
)  # fmt: skip

# Without hyphens and underscores, which senders add and omit.
_TRANSFER_ENCODINGS = frozenset({"7bit", "8bit", "base64", "binary", "quotedprintable", "uuencode", "xuuencode"})

# A letter that is not a hexadecimal digit, without a preceding shift into another character set. It is visible in every
# transfer encoding except base64.
_VISIBLE_UNDECODED = re.compile(rb"[^+~\x1b\0g-zG-Z]*+[g-zG-Z]")
_VISIBILITY_SAMPLE = 200

# All but white space, controls, the empty Braille cell, and Unicode's Default_Ignorable_Code_Point
# (DerivedCoreProperties.txt).
_VISIBLE = re.compile(
    "[^\\s\0-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U000e0000-\U000e0fff]"
)

# Of HTML, and not of an address in angle brackets.
_MARKUP = re.compile(r"</[a-z]|<(?:br|div|hr|p)[\s/>]", re.IGNORECASE)
_PICTURE = re.compile(r"<(?:embed|iframe|image|img|object|svg|v:imagedata|video)\b|\bbackground\b", re.IGNORECASE)

_SIGNATURE_LINE = "-- "
_SLICE_LENGTH = 64 * 1024  # characters
_MAX_PIECES = 10_000
"""Number of strings after which a list is joined: a line of two characters takes 60 bytes of memory by itself."""


@dataclass(slots=True)
class Leaf:
    """A part with content of its own.

    Attributes:
        part: the position of the part.
        disposition: `attachment`, `inline`, another declared disposition, or "".
        name: the decoded file name, or "".
        encoding: the transfer encoding.
        footer: start and end of text that follows the part's base64 data; None if there is none.
        byte_range: start and end of the leaf within the decoded content; None for all of it.
    """

    part: Part
    disposition: str
    name: str
    encoding: str
    footer: tuple[int, int] | None = None
    byte_range: tuple[int, int] | None = None

    def may_be_text(self, *, allow_name: bool) -> bool:
        """Return whether the leaf may be the text of a message.

        Args:
            allow_name: whether a leaf with a file name may be text.
        """
        if self.disposition not in {"", "inline"} or self.part.opaque:
            return False
        kind = self.part.content_type.kind
        if kind in _TEXT_TYPES:
            return allow_name or not self.name
        return allow_name and not self.name and kind.startswith("text/") and kind not in _FILE_TYPES


@dataclass(frozen=True, slots=True)
class BodySelection:
    """The leaves of a message, and those that are its text.

    Attributes:
        texts: leaves that make up the message's text, in order. HTML is converted.
        htmls: leaves that make up the message's HTML, in order.
        leaves: all leaves in order.
        blanks: leaves without visible characters that were replaced by another alternative.
    """

    texts: tuple[Leaf, ...]
    htmls: tuple[Leaf, ...]
    leaves: tuple[Leaf, ...]
    blanks: tuple[Leaf, ...] = ()


_Selected = tuple[list[Leaf], list[Leaf]]


def select_bodies(root: Part, texts: TextReader, buffer: Buffer, defects: Defects) -> BodySelection:
    """Select the leaves that are the message's text and HTML."""
    return _BodySelector(texts, buffer, defects).run(root)


class _BodySelector:
    def __init__(self, texts: TextReader, buffer: Buffer, defects: Defects) -> None:
        self._texts = texts
        self._buffer = buffer
        self._defects = defects
        self._leaves: list[Leaf] = []
        self._blanks: list[Leaf] = []
        self._bytes_left = MAX_TEXT

    def run(self, root: Part) -> BodySelection:
        texts, htmls = self._select(root, allow_name=True)
        return BodySelection(tuple(texts), tuple(htmls), tuple(self._leaves), tuple(self._blanks))

    def _select(self, part: Part, *, allow_name: bool) -> _Selected:
        """Return the text and HTML leaves of a part.

        Args:
            part: any part.
            allow_name: whether a leaf with a file name may be text: true up to the first text, and in alternatives.
        """
        if not part.children:
            if part.content_type.kind.startswith("multipart/"):
                return [], []  # an empty multipart
            leaf = _to_leaf(part, self._buffer, self._defects)
            self._leaves.append(leaf)
            if not leaf.may_be_text(allow_name=allow_name) or not self._fits(leaf):
                return [], []
            return [leaf], [leaf] if part.content_type.kind == "text/html" else []
        if part.content_type.kind == "multipart/alternative":
            return self._select_alternative([self._select(child, allow_name=allow_name) for child in part.children])
        if part.content_type.kind == "multipart/related":
            return self._select_related(part, allow_name=allow_name)
        texts: list[Leaf] = []
        htmls: list[Leaf] = []
        for child in part.children:
            more = self._select(child, allow_name=allow_name and not texts)
            texts += more[0]
            htmls += more[1]
        return texts, htmls

    def _select_related(self, part: Part, *, allow_name: bool) -> _Selected:
        """Return the root of a multipart/related: the text that `start` names, or the first one (RFC 2387).

        The next text replaces a root without visible characters, as mail programs show it.
        """
        choices: list[_Selected] = []
        named = 0
        start = part.content_type.parameters.get("start", "").strip("<> ")
        for child in part.children:
            is_named = bool(start) and (child.headers.get("content-id") or "").strip("<> ") == start
            choice = self._select(child, allow_name=allow_name and (is_named or not choices))
            if choice[0]:
                named = len(choices) if is_named else named
                choices.append(choice)
        if len(choices) <= 1:
            return choices[0] if choices else ([], [])
        roots = [choices[named], *(choice for choice in choices if choice is not choices[named])]
        number = next((n for n, (texts, _) in enumerate(roots) if not self._is_blank(texts)), None)
        self._blanks += (leaf for texts, _ in (roots[1:] if number is None else roots[:number]) for leaf in texts)
        return roots[number or 0]

    def _fits(self, leaf: Leaf) -> bool:
        size = (leaf.footer[1] if leaf.footer else leaf.part.end) - leaf.part.start
        if size > self._bytes_left:
            self._defects.add_exceeded_limit(
                f"there are more than {MAX_TEXT} bytes of text: the rest is kept as attachments"
            )
            return False
        self._bytes_left -= size
        return True

    def _select_alternative(self, choices: list[_Selected]) -> _Selected:
        """Return the first plain text and the last HTML of the alternatives: senders put the best alternative last.

        Any other text replaces plain text without visible characters. Text of another type is used only without both.
        """
        htmls = next((htmls for _, htmls in reversed(choices) if htmls), [])
        texts = [texts for texts, _ in choices if texts]
        if len(texts) == 1:
            return texts[0], htmls
        plains = [choice for choice in texts if any(map(_is_plain, choice))]
        others = [choice for choice in texts if not any(map(_is_plain, choice))]
        first = next((n for n, choice in enumerate(plains) if not self._is_blank(filter(_is_plain, choice))), None)
        selected = plains[first] if first is not None else list(htmls)
        if not selected:
            selected = next((choice for choice in others if not self._is_blank(choice)), [])
        if not selected:
            return next(iter(plains or others), []), htmls
        selected_ids = {id(leaf) for leaf in (*selected, *htmls)}
        skipped = (leaf for choice in (*plains[:first], *others) for leaf in choice if id(leaf) not in selected_ids)
        self._blanks += (leaf for leaf in skipped if self._is_blank([leaf]))
        return selected, htmls

    def _is_blank(self, leaves: Iterable[Leaf]) -> bool:
        return all(map(self._texts.is_blank, leaves))


def _is_plain(leaf: Leaf) -> bool:
    return leaf.part.content_type.kind == "text/plain"


def _to_leaf(part: Part, buffer: Buffer, defects: Defects) -> Leaf:
    text = part.headers.get("content-disposition")
    disposition = _parse_disposition(text, defects) if text else ParametrisedValue("", {})
    name = disposition.parameters.get("filename") or part.content_type.parameters.get("name") or ""
    name = name or disposition.parameters.get("name", "")  # not valid (RFC 2183), but common
    encoding = parse_transfer_encoding(part.headers.get("content-transfer-encoding"))
    leaf = Leaf(part, disposition.kind, decode_words(name, defects) if name else "", encoding)
    if encoding == "base64":
        end = find_data_end(buffer, part.start, part.end, part.content_type)
        if end == part.start < part.end:
            defects.add("the content is declared base64 but is plain text: kept unchanged")
            leaf.encoding = UNENCODED
        elif end < part.end:
            defects.add("text follows base64 data: excluded from the content")
            leaf.footer = (end, part.end)
            part.end = end
    return leaf


def _parse_disposition(text: str, defects: Defects) -> ParametrisedValue:
    """Parse a disposition. A file name without a type, or with a transfer encoding as type, makes an attachment."""
    disposition = parse_parameters(text, defects)
    misplaced = disposition.kind.replace("-", "").replace("_", "") in _TRANSFER_ENCODINGS
    if misplaced:
        defects.add("a Content-Disposition is a transfer encoding: ignored")
    if misplaced or not disposition.kind:
        kind = "attachment" if disposition.parameters.get("filename") else ""
        return ParametrisedValue(kind, disposition.parameters)
    return disposition


def decoded_content(leaf: Leaf, buffer: Buffer, defects: Defects) -> Iterator[bytes]:
    """Return a leaf's decoded content in pieces."""
    pieces = decode_pieces(buffer.pieces(leaf.part.start, leaf.part.end), leaf.encoding, defects)
    return pieces if leaf.byte_range is None else slice_pieces(pieces, *leaf.byte_range)


def is_visible(text: str, html: str | None = None) -> bool:
    """Return whether text has visible characters, or the HTML that it was converted from has a picture."""
    return _VISIBLE.search(text) is not None or (html is not None and _PICTURE.search(html) is not None)


class TextReader:
    """A reader of the selected leaves. Each leaf is decoded once."""

    def __init__(self, buffer: Buffer, defects: Defects) -> None:
        self._buffer = buffer
        self._defects = defects
        self._decoded: dict[int, str] = {}
        self._blanks: dict[int, bool] = {}
        self._files: list[Leaf] = []

    def read_text(self, bodies: BodySelection) -> str:
        """Return the message's plain text."""
        is_only_leaf = len(bodies.leaves) == 1
        return "\n".join(self._render(leaf, is_only_leaf=is_only_leaf) for leaf in bodies.texts)

    def read_html(self, bodies: BodySelection) -> str | None:
        """Return the message's HTML with the charset decoded and line ends normalised; None if it has none."""
        return "\n".join(self._decode(leaf) for leaf in bodies.htmls) if bodies.htmls else None

    def attachments(self, bodies: BodySelection) -> Iterator[Leaf]:
        """Return the leaves that are neither text nor HTML, and then the files that `read_text` found in the text."""
        text_ids = {id(leaf) for leaf in (*bodies.texts, *bodies.htmls, *bodies.blanks)}
        yield from (leaf for leaf in bodies.leaves if id(leaf) not in text_ids)
        yield from self._files

    def is_blank(self, leaf: Leaf) -> bool:
        """Return whether a text has no visible characters. Most plain text need not be decoded for that."""
        part = leaf.part
        is_html = part.content_type.kind == "text/html"
        if (
            not is_html
            and leaf.encoding != "base64"
            and _VISIBLE_UNDECODED.match(self._buffer.slice(part.start, min(part.start + _VISIBILITY_SAMPLE, part.end)))
        ):
            return False
        if id(leaf) not in self._blanks:  # a text in nested multiparts is compared at each level
            text = self._decode(leaf)
            self._blanks[id(leaf)] = not (is_visible(html_to_text(text), text) if is_html else is_visible(text))
        return self._blanks[id(leaf)]

    def _render(self, leaf: Leaf, *, is_only_leaf: bool) -> str:
        """Return a leaf as plain text, with the footer after its base64 data."""
        is_html = leaf.part.content_type.kind == "text/html"
        text = html_to_text(self._decode(leaf)) if is_html else self._render_plain(leaf, is_only_leaf=is_only_leaf)
        if leaf.footer is None:
            return text
        footer = Part(leaf.part.headers, leaf.part.content_type, *leaf.footer)
        footer_text = self._decode(Leaf(footer, "", "", UNENCODED)).strip("\n")
        if is_html and _MARKUP.search(footer_text):
            footer_text = html_to_text(footer_text)
        return "\n\n".join((text.rstrip("\n"), footer_text))

    def _render_plain(self, leaf: Leaf, *, is_only_leaf: bool) -> str:
        text = self._decode(leaf, with_files=is_only_leaf)
        content_type = leaf.part.content_type
        if (content_type.token("format") or "").lower() != "flowed":
            return text
        return unfold_flowed(text, delete_space=(content_type.token("delsp") or "").lower() == "yes")

    def _decode(self, leaf: Leaf, *, with_files: bool = False) -> str:
        if id(leaf) not in self._decoded:
            data = b"".join(decoded_content(leaf, self._buffer, self._defects))
            if with_files and leaf.encoding in IDENTITY and (embedded := find_uuencoded_files(data)):
                if not all(file.complete for file in embedded):
                    self._defects.add("a file in the text has no end marker")
                data = remove_uuencoded_files(data, embedded)
                self._files = [self._file_leaf(leaf.part, file) for file in embedded]
            inner = None
            if leaf.part.content_type.kind == "text/html" and not data.isascii():
                inner = html_charset(data)
            text = decode(data, leaf.part.content_type.token("charset"), self._defects, inner=inner)
            if "\0" in text:  # PostgreSQL, XML and Excel refuse NUL; browsers drop it
                self._defects.add("the text contains NUL characters: removed")
                text = text.replace("\0", "")
            self._decoded[id(leaf)] = text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text
        return self._decoded[id(leaf)]

    def _file_leaf(self, text: Part, file: UuencodedFile) -> Leaf:
        content_type = ParametrisedValue("application/octet-stream", {})
        part = Part(Headers([], self._defects), content_type, text.start + file.start, text.start + file.end)
        return Leaf(part, "attachment", decode_words(header_text(file.name, self._defects), self._defects), UUENCODED)


def unfold_flowed(text: str, *, delete_space: bool) -> str:
    """Return `format=flowed` text with every paragraph on one line (RFC 3676).

    Args:
        text: decoded text with LF as line end.
        delete_space: whether `DelSp=yes`: the space that marks a broken line is not part of the text, as in languages
            without spaces.

    Returns:
        The text. A quoted paragraph keeps its quote marks once. The line above a signature is never joined.
    """
    out: list[str] = []
    paragraph: list[str] = []
    depth = 0
    for line in _iterate_lines(text):
        _join_many(out, "\n")
        _join_many(paragraph, "")
        if not paragraph and (not line or (line[0] not in "> " and line[-1] != " ")):
            out.append(line)  # most lines are a paragraph by themselves
            depth = 0
            continue
        content = line.lstrip(">")
        quoted = len(line) - len(content)
        content = content.removeprefix(" ")  # space-stuffing (RFC 3676 section 4.4)
        is_signature = content == _SIGNATURE_LINE
        if paragraph and (is_signature or quoted != depth):
            out.append(_format_paragraph(paragraph, depth))
            paragraph = []
        depth = quoted
        if content.endswith(" ") and not is_signature:
            paragraph.append(content[:-1] if delete_space else content)
        else:
            out.append(_format_paragraph([*paragraph, content], depth))
            paragraph = []
    if paragraph:
        out.append(_format_paragraph(paragraph, depth))
    return "\n".join(out)


def _iterate_lines(text: str) -> Iterator[str]:
    start = 0
    while (end := text.find("\n", start + _SLICE_LENGTH)) >= 0:
        yield from text[start:end].split("\n")
        start = end + 1
    yield from text[start:].split("\n")


def _join_many(pieces: list[str], joint: str) -> None:
    if len(pieces) >= _MAX_PIECES:
        pieces[:] = [joint.join(pieces)]


def _format_paragraph(pieces: list[str], depth: int) -> str:
    text = "".join(pieces)
    return f"{'>' * depth} {text}" if depth and text else ">" * depth + text
