"""The files that Outlook packed into a winmail.dat (TNEF) take its place among the attachments."""

from __future__ import annotations

from dataclasses import dataclass

from shared.mime.body_selection import Leaf, content
from shared.mime.buffer import Buffer
from shared.mime.defects import Defects
from shared.mime.headers import Headers
from shared.mime.multipart import Part
from shared.mime.parameters import Parametrised
from shared.mime.rtf import ALWAYS_READ, decompress, read_rtf
from shared.mime.tnef import MOST_FILES, Tnef, TnefFile, read_tnef

_KINDS = frozenset({"application/ms-tnef", "application/vnd.ms-tnef"})
_NAMES = frozenset({"winmail.dat", "win.dat"})

# A file is read by decoding what is before it again: bytes decoded for all of them, as a multiple of the size.
_MOST_WORK = 32
_ALWAYS = 4 * 1024 * 1024


@dataclass(slots=True)
class Unpacked:
    """What a message's attachments are, and the text that was found among them.

    Attributes:
        leaves: the attachments. The files of a winmail.dat take its place; it stays beside them if some are left in it.
        text: plain text; "" if there was none, or it was not asked for.
        html: HTML; "" likewise.
    """

    leaves: list[Leaf]
    text: str = ""
    html: str = ""


def unpacked(leaves: list[Leaf], buffer: Buffer, defects: Defects, *, with_text: bool) -> Unpacked:
    """Unpack every winmail.dat among attachments.

    Args:
        leaves: the attachments.
        buffer: the message's bytes.
        defects: where it is noted if one could not be read.
        with_text: whether to read the message's text too: the message has no other.
    """
    if not any(map(_may_be_tnef, leaves)):
        return Unpacked(leaves)
    found = Unpacked([])
    count, always = 0, ALWAYS_READ
    for leaf in leaves:
        tnef = read_tnef(content(leaf, buffer, defects), defects, with_text=with_text) if _may_be_tnef(leaf) else None
        if tnef is None:
            found.leaves.append(leaf)
            continue
        files = _affordable(tnef, leaf)[: MOST_FILES - count]
        count += len(files)
        if not files or not tnef.whole or len(files) < len(tnef.files):
            found.leaves.append(leaf)
        found.leaves += [_leaf(one, leaf, defects) for one in files]
        if with_text and not (found.text or found.html):
            text, html = tnef.text, tnef.html
            if tnef.rtf and not (text or html):
                text, html = read_rtf(decompress(tnef.rtf, always))
                always = 0
            found.text, found.html = _with_line_feeds(text), _with_line_feeds(html)
    return found


def _may_be_tnef(leaf: Leaf) -> bool:
    if leaf.part.opaque or leaf.inside is not None:
        return False
    return leaf.part.content.kind in _KINDS or leaf.name.lower() in _NAMES


def _affordable(tnef: Tnef, leaf: Leaf) -> list[TnefFile]:
    budget = _ALWAYS + _MOST_WORK * (leaf.part.end - leaf.part.start)
    files = []
    for one in tnef.files:
        budget -= one.end
        if budget < 0:
            break
        files.append(one)
    return files


def _leaf(file: TnefFile, whole: Leaf, defects: Defects) -> Leaf:
    fields = [("Content-ID", f"<{file.content_id}>".encode())] if file.content_id else []
    kind = Parametrised(file.content_type or "application/octet-stream", {})
    part = Part(Headers(fields, defects), kind, whole.part.start, whole.part.end)
    return Leaf(part, "", file.name, whole.encoding, inside=(file.start, file.end))


def _with_line_feeds(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")
