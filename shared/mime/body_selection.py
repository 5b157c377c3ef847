"""Which parts are the text of a message, and which are attachments (RFC 2046 section 5.1, RFC 2183, RFC 2387)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from shared.mime.base64_extent import end_of_data
from shared.mime.buffer import Buffer
from shared.mime.charsets import declared_in_html, decode
from shared.mime.defects import Defects
from shared.mime.encoded_words import decoded as decoded_words
from shared.mime.encoded_words import header_text
from shared.mime.flowed import unfolded
from shared.mime.headers import Headers
from shared.mime.html_text import html_to_text
from shared.mime.multipart import Part
from shared.mime.parameters import Parametrised, read
from shared.mime.tnef import sliced
from shared.mime.transfer_encoding import IDENTITY, UNENCODED, UUENCODED, decoded, encoding_of
from shared.mime.uuencoded import File, files, without

MOST_TEXT = 5 * 1024 * 1024
"""Bytes, as sent, of all the text of a message. Text beyond becomes an attachment, so that memory has a bound."""

_KINDS = frozenset({"text/plain", "text/html"})

# Types of text that programs read: files, wherever they are. All others are shown as plain text where the body is
# (RFC 2046 section 4.1.4). After the IANA registry of media types, with older names.
_FILES = frozenset(
    f"text/{subtype}"
    for subtype in (
        "cache-manifest", "calendar", "comma-separated-values", "css", "csv", "csv-schema", "directory", "ecmascript",
        "javascript", "json", "rfc822-headers", "rtf", "tab-separated-values", "vcard", "vtt", "x-amp-html",
        "x-comma-separated-values", "x-csv", "x-json", "x-ms-contact", "x-vcalendar", "x-vcard", "xml",
        "xml-external-parsed-entity",
    )
)  # fmt: skip

_ENCODINGS = frozenset({"7bit", "8bit", "base64", "binary", "quoted-printable", "uuencode", "x-uuencode"})

# A letter that is no hexadecimal digit, in bytes without shifts into another character set: visible in any encoding
# but base64.
_PLAINLY_VISIBLE = re.compile(rb"[^+~\x1b\0g-zG-Z]*+[g-zG-Z]")
_HEAD = 200

# All but white space, controls, the empty Braille cell, and Default_Ignorable_Code_Point of Unicode
# (DerivedCoreProperties.txt).
_VISIBLE = re.compile(
    "[^\\s\0-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U000e0000-\U000e0fff]"
)


@dataclass(slots=True)
class Leaf:
    """A part that holds content.

    Attributes:
        part: where it is.
        disposition: `attachment`, `inline`, or what else it says; "" if it says nothing.
        name: decoded file name; "" if it has none.
        encoding: transfer encoding.
        footer: where text that follows its base64 data begins and ends; None if there is none.
        inside: which bytes of the decoded content it is; None if all.
    """

    part: Part
    disposition: str
    name: str
    encoding: str
    footer: tuple[int, int] | None = None
    inside: tuple[int, int] | None = None

    def is_text(self, *, named: bool) -> bool:
        """Whether it may be the text of a message.

        Args:
            named: whether it may have a file name.
        """
        if self.disposition not in {"", "inline"} or self.part.opaque:
            return False
        kind = self.part.content.kind
        if kind in _KINDS:
            return named or not self.name
        return named and not self.name and kind.startswith("text/") and kind not in _FILES


@dataclass(frozen=True, slots=True)
class Bodies:
    """What was chosen.

    Attributes:
        texts: leaves whose text is the message's, in order; those of HTML are converted.
        htmls: leaves whose HTML is the message's, in order.
        leaves: all leaves, in order, these included.
        blanks: leaves without visible characters that were passed over for another alternative.
    """

    texts: tuple[Leaf, ...]
    htmls: tuple[Leaf, ...]
    leaves: tuple[Leaf, ...]
    blanks: tuple[Leaf, ...] = ()


_Chosen = tuple[list[Leaf], list[Leaf]]


def choose(root: Part, texts: Texts, buffer: Buffer, defects: Defects) -> Bodies:
    """Choose a message's text, and list its leaves."""
    return _Chooser(texts, buffer, defects).run(root)


class _Chooser:
    def __init__(self, texts: Texts, buffer: Buffer, defects: Defects) -> None:
        self._texts = texts
        self._buffer = buffer
        self._defects = defects
        self._leaves: list[Leaf] = []
        self._blanks: list[Leaf] = []
        self._room = MOST_TEXT

    def run(self, root: Part) -> Bodies:
        texts, htmls = self._choose(root, named=True)
        return Bodies(tuple(texts), tuple(htmls), tuple(self._leaves), tuple(self._blanks))

    def _choose(self, part: Part, *, named: bool) -> _Chosen:
        """The texts and HTMLs of a part.

        Args:
            part: any part.
            named: whether a text with a file name is text all the same: the first one, and in an alternative any.
        """
        if not part.children:
            if part.content.kind.startswith("multipart/"):
                return [], []  # without any content
            leaf = _leaf(part, self._buffer, self._defects)
            self._leaves.append(leaf)
            if not leaf.is_text(named=named) or not self._fits(leaf):
                return [], []
            return [leaf], [leaf] if part.content.kind == "text/html" else []
        if part.content.kind == "multipart/alternative":
            return self._best([self._choose(child, named=named) for child in part.children])
        texts: list[Leaf] = []
        htmls: list[Leaf] = []
        related = part.content.kind == "multipart/related"
        for child in part.children:
            more = self._choose(child, named=named and not texts)
            if not (related and texts):
                texts += more[0]
                htmls += more[1]
        return texts, htmls

    def _fits(self, leaf: Leaf) -> bool:
        size = (leaf.footer[1] if leaf.footer else leaf.part.end) - leaf.part.start
        if size > self._room:
            self._defects.cap(f"there are more than {MOST_TEXT} bytes of text: the rest is kept as attachments")
            return False
        self._room -= size
        return True

    def _best(self, choices: list[_Chosen]) -> _Chosen:
        """Choose the first plain text and the last HTML of an alternative: senders put the best last.

        Plain text without visible characters gives way to any other text, and text of another type to both.
        """
        htmls = next((htmls for _, htmls in reversed(choices) if htmls), [])
        texts = [texts for texts, _ in choices if texts]
        plains = [choice for choice in texts if any(leaf.part.content.kind == "text/plain" for leaf in choice)]
        if len(texts) == 1:
            return texts[0], htmls
        plain = next((choice for choice in plains if not self._is_blank(choice)), None)
        if plain is not None or htmls:
            skipped = plains[: plains.index(plain)] if plain is not None else plains
            self._blanks += [leaf for choice in skipped for leaf in choice if leaf.part.content.kind == "text/plain"]
            return plain if plain is not None else list(htmls), htmls
        others = (choice for choice in texts if choice not in plains)
        return next(iter(plains), None) or next(others, []), htmls

    def _is_blank(self, choice: list[Leaf]) -> bool:
        return all(self._texts.is_blank(leaf) for leaf in choice if leaf.part.content.kind == "text/plain")


def _leaf(part: Part, buffer: Buffer, defects: Defects) -> Leaf:
    text = part.headers.text("content-disposition")
    disposition = _disposition(text, defects) if text else Parametrised("", {})
    name = disposition.parameters.get("filename") or part.content.parameters.get("name") or ""
    encoding = encoding_of(part.headers.text("content-transfer-encoding"))
    leaf = Leaf(part, disposition.kind, decoded_words(name, defects) if name else "", encoding)
    if encoding == "base64":
        end = end_of_data(buffer, part.start, part.end)
        if end == part.start < part.end:
            defects.add("the content is said to be base64 and is text: kept as it is")
            leaf.encoding = UNENCODED
        elif end < part.end:
            defects.add("text follows base64 data: not part of it")
            leaf.footer = (end, part.end)
            part.end = end
    return leaf


def _disposition(text: str, defects: Defects) -> Parametrised:
    """A disposition; a file name without a type, or with a transfer encoding in its place, makes an attachment."""
    disposition = read(text, defects)
    misplaced = disposition.kind in _ENCODINGS
    if misplaced:
        defects.add("a Content-Disposition is a transfer encoding: ignored")
    if misplaced or (not disposition.kind and not text.startswith(";")):
        kind = "attachment" if disposition.parameters.get("filename") else ""
        return Parametrised(kind, disposition.parameters)
    return disposition


def content(leaf: Leaf, buffer: Buffer, defects: Defects) -> Iterator[bytes]:
    """A leaf's decoded content, in pieces."""
    pieces = decoded(buffer.pieces(leaf.part.start, leaf.part.end), leaf.encoding, defects)
    return pieces if leaf.inside is None else sliced(pieces, *leaf.inside)


class Texts:
    """Reads chosen leaves as text, each once."""

    def __init__(self, buffer: Buffer, defects: Defects) -> None:
        self._buffer = buffer
        self._defects = defects
        self._read: dict[int, str] = {}
        self._files: list[Leaf] = []

    def text(self, bodies: Bodies) -> str:
        """The message's plain text."""
        alone = len(bodies.leaves) == 1
        return "\n".join(self._shown(leaf, alone=alone) for leaf in bodies.texts)

    def html(self, bodies: Bodies) -> str | None:
        """The message's HTML, as sent but for its charset and line ends; None if it has none."""
        return "\n".join(self._of(leaf) for leaf in bodies.htmls) if bodies.htmls else None

    def files(self, bodies: Bodies) -> Iterator[Leaf]:
        """The leaves that are neither text nor HTML of the message, and files that the text held, once it was read."""
        read = {id(leaf) for leaf in (*bodies.texts, *bodies.htmls, *bodies.blanks)}
        yield from (leaf for leaf in bodies.leaves if id(leaf) not in read)
        yield from self._files

    def is_blank(self, leaf: Leaf) -> bool:
        """Return whether plain text has no visible characters. Most text shows one at its beginning, undecoded."""
        part = leaf.part
        if leaf.encoding != "base64" and _PLAINLY_VISIBLE.match(
            self._buffer.slice(part.start, min(part.start + _HEAD, part.end))
        ):
            return False
        return _VISIBLE.search(self._of(leaf)) is None

    def _shown(self, leaf: Leaf, *, alone: bool) -> str:
        """A leaf as plain text, with the footer that follows it."""
        is_html = leaf.part.content.kind == "text/html"
        text = html_to_text(self._of(leaf)) if is_html else self._plain(leaf, alone=alone)
        if leaf.footer is None:
            return text
        footer = Part(leaf.part.headers, leaf.part.content, *leaf.footer)
        return "\n\n".join((text.rstrip("\n"), self._of(Leaf(footer, "", "", UNENCODED)).strip("\n")))

    def _plain(self, leaf: Leaf, *, alone: bool) -> str:
        text = self._of(leaf, with_files=alone)
        content = leaf.part.content
        if (content.token("format") or "").lower() != "flowed":
            return text
        return unfolded(text, delete_space=(content.token("delsp") or "").lower() == "yes")

    def _of(self, leaf: Leaf, *, with_files: bool = False) -> str:
        if id(leaf) not in self._read:
            data = b"".join(content(leaf, self._buffer, self._defects))
            if with_files and leaf.encoding in IDENTITY and (found := files(data)):
                if not all(one.whole for one in found):
                    self._defects.add("a file in the text has no end")
                data = without(data, found)
                self._files = [self._file(leaf.part, one) for one in found]
            inner = None
            if leaf.part.content.kind == "text/html" and not data.isascii():
                inner = declared_in_html(data)
            text = decode(data, leaf.part.content.token("charset"), self._defects, inner=inner)
            if "\0" in text:  # PostgreSQL, XML and Excel refuse it; browsers drop it, too
                self._defects.add("there are NUL characters in the text: removed")
                text = text.replace("\0", "")
            self._read[id(leaf)] = text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text
        return self._read[id(leaf)]

    def _file(self, text: Part, file: File) -> Leaf:
        content = Parametrised("application/octet-stream", {})
        part = Part(Headers([], self._defects), content, text.start + file.start, text.start + file.end)
        return Leaf(part, "attachment", decoded_words(header_text(file.name, self._defects), self._defects), UUENCODED)
