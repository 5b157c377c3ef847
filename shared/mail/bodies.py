"""Which parts are the text of a message, and which are attachments (RFC 2046 section 5.1, RFC 2183, RFC 2387)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from shared.mail.buffer import Buffer
from shared.mail.charsets import declared_in_html, decode
from shared.mail.defects import Defects
from shared.mail.flowed import unfolded
from shared.mail.headers import Headers
from shared.mail.html_text import html_to_text
from shared.mail.parameters import Parametrised, read
from shared.mail.structure import Part
from shared.mail.tnef import sliced
from shared.mail.transfer import IDENTITY, UUENCODED, decoded, encoding_of
from shared.mail.uuencoded import File, files, without
from shared.mail.words import decoded as decoded_words
from shared.mail.words import header_text

MOST_TEXT = 5 * 1024 * 1024
"""Bytes, as sent, of all the text of a message. Text beyond becomes an attachment, so that memory has a bound."""

_DETECTED = 5  # parts of a message whose charset may be guessed


@dataclass(slots=True)
class Leaf:
    """A part that holds content.

    Attributes:
        part: where it is.
        disposition: `attachment`, `inline`, or what else it says; "" if it says nothing.
        name: decoded file name; "" if it has none.
        encoding: transfer encoding.
        inside: which bytes of the decoded content it is; None if all.
    """

    part: Part
    disposition: str
    name: str
    encoding: str
    inside: tuple[int, int] | None = None

    def is_text(self) -> bool:
        """Whether it may be the text of a message."""
        kinds = {"text/plain", "text/html"}
        return self.part.content.kind in kinds and self.disposition in {"", "inline"} and not self.part.opaque


@dataclass(frozen=True, slots=True)
class Bodies:
    """What was chosen.

    Attributes:
        texts: leaves whose text is the message's, in order; those of HTML are converted.
        htmls: leaves whose HTML is the message's, in order.
        leaves: all leaves, in order, these included.
    """

    texts: tuple[Leaf, ...]
    htmls: tuple[Leaf, ...]
    leaves: tuple[Leaf, ...]


_Chosen = tuple[list[Leaf], list[Leaf]]


def choose(root: Part, defects: Defects) -> Bodies:
    """Choose a message's text, and list its leaves."""
    return _Chooser(defects).run(root)


class _Chooser:
    def __init__(self, defects: Defects) -> None:
        self._defects = defects
        self._leaves: list[Leaf] = []
        self._room = MOST_TEXT

    def run(self, root: Part) -> Bodies:
        texts, htmls = self._choose(root, named=True)
        return Bodies(tuple(texts), tuple(htmls), tuple(self._leaves))

    def _choose(self, part: Part, *, named: bool) -> _Chosen:
        """The texts and HTMLs of a part.

        Args:
            part: any part.
            named: whether a text with a file name is text all the same: the first one, and in an alternative any.
        """
        if not part.children:
            leaf = _leaf(part, self._defects)
            self._leaves.append(leaf)
            if not leaf.is_text() or (leaf.name and not named) or not self._fits(part):
                return [], []
            return [leaf], [leaf] if part.content.kind == "text/html" else []
        if part.content.kind == "multipart/alternative":
            return _best([self._choose(child, named=named) for child in part.children])
        texts: list[Leaf] = []
        htmls: list[Leaf] = []
        related = part.content.kind == "multipart/related"
        for child in part.children:
            more = self._choose(child, named=named and not texts)
            if not (related and texts):
                texts += more[0]
                htmls += more[1]
        return texts, htmls

    def _fits(self, part: Part) -> bool:
        size = part.end - part.start
        if size > self._room:
            self._defects.cap(f"there are more than {MOST_TEXT} bytes of text: the rest is kept as attachments")
            return False
        self._room -= size
        return True


def _best(choices: list[_Chosen]) -> _Chosen:
    """Of an alternative: the first plain text, and the last HTML, which senders put in rising order of their liking."""
    plain = next((texts for texts, _ in choices if any(t.part.content.kind == "text/plain" for t in texts)), None)
    htmls = next((htmls for _, htmls in reversed(choices) if htmls), [])
    return plain if plain is not None else list(htmls), htmls


def _leaf(part: Part, defects: Defects) -> Leaf:
    text = part.headers.text("content-disposition")
    disposition = read(text, defects) if text else Parametrised("", {})
    name = disposition.parameters.get("filename") or part.content.parameters.get("name") or ""
    encoding = encoding_of(part.headers.text("content-transfer-encoding"))
    return Leaf(part, disposition.kind, decoded_words(name, defects) if name else "", encoding)


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
        return "\n".join(
            html_to_text(self._of(leaf)) if leaf.part.content.kind == "text/html" else self._plain(leaf, alone=alone)
            for leaf in bodies.texts
        )

    def html(self, bodies: Bodies) -> str | None:
        """The message's HTML, as sent but for its charset and line ends; None if it has none."""
        return "\n".join(self._of(leaf) for leaf in bodies.htmls) if bodies.htmls else None

    def files(self, bodies: Bodies) -> Iterator[Leaf]:
        """The leaves that are neither text nor HTML of the message, and files that the text held, once it was read."""
        read = {id(leaf) for leaf in (*bodies.texts, *bodies.htmls)}
        yield from (leaf for leaf in bodies.leaves if id(leaf) not in read)
        yield from self._files

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
            charset = leaf.part.content.token("charset")
            if charset is None and leaf.part.content.kind == "text/html" and not data.isascii():
                charset = declared_in_html(data)
            text = decode(data, charset, self._defects, detect=len(self._read) < _DETECTED)
            self._read[id(leaf)] = text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text
        return self._read[id(leaf)]

    def _file(self, text: Part, file: File) -> Leaf:
        content = Parametrised("application/octet-stream", {})
        part = Part(Headers([], self._defects), content, text.start + file.start, text.start + file.end)
        return Leaf(part, "attachment", decoded_words(header_text(file.name, self._defects), self._defects), UUENCODED)
