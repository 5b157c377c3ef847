"""Replace a winmail.dat (TNEF) by the files that Outlook packed into it."""

from __future__ import annotations

from dataclasses import dataclass

from shared.mime.body_selection import Leaf, decoded_content
from shared.mime.buffer import Buffer
from shared.mime.defects import Defects
from shared.mime.headers import Headers, ParametrisedValue
from shared.mime.multipart import Part
from shared.mime.rtf import ALWAYS_READ, decompress, parse_rtf
from shared.mime.tnef import MAX_FILES, Tnef, TnefFile, parse_tnef

_KINDS = frozenset({"application/ms-tnef", "application/vnd.ms-tnef"})
_NAMES = frozenset({"winmail.dat", "win.dat"})

# Reading a file decodes everything before it again. The total is limited to a multiple of the size.
_MAX_WORK_RATIO = 32
_MIN_BUDGET = 4 * 1024 * 1024


@dataclass(slots=True)
class UnpackResult:
    """The attachments of a message after unpacking, and the text found in a TNEF.

    Attributes:
        leaves: the attachments. The files of a winmail.dat replace it, or precede it if it holds other content.
        text: plain text; "" if none was found or requested.
        html: HTML; "" if none was found or requested.
    """

    leaves: list[Leaf]
    text: str = ""
    html: str = ""


def unpack_tnef(leaves: list[Leaf], buffer: Buffer, defects: Defects, *, with_text: bool) -> UnpackResult:
    """Unpack every winmail.dat among the attachments.

    Args:
        leaves: the attachments.
        buffer: the message's bytes.
        defects: records if a winmail.dat could not be read completely.
        with_text: whether to read the TNEF's text, because the message has no other text.
    """
    if not any(map(_may_be_tnef, leaves)):
        return UnpackResult(leaves)
    result = UnpackResult([])
    count, rtf_size = 0, ALWAYS_READ
    for leaf in leaves:
        tnef = (
            parse_tnef(decoded_content(leaf, buffer, defects), defects, with_text=with_text)
            if _may_be_tnef(leaf)
            else None
        )
        if tnef is None:
            result.leaves.append(leaf)
            continue
        files = _within_budget(tnef, leaf)[: MAX_FILES - count]
        count += len(files)
        if not files or not tnef.complete or len(files) < len(tnef.files):
            result.leaves.append(leaf)
        result.leaves += [_to_leaf(file, leaf, defects) for file in files]
        if with_text and not (result.text or result.html):
            text, html = tnef.text, tnef.html
            if tnef.rtf and not (text or html):
                text, html = parse_rtf(decompress(tnef.rtf, rtf_size))
                rtf_size = 0
            result.text, result.html = _normalise_line_ends(text), _normalise_line_ends(html)
    return result


def _may_be_tnef(leaf: Leaf) -> bool:
    if leaf.part.opaque or leaf.byte_range is not None:
        return False
    return leaf.part.content_type.kind in _KINDS or leaf.name.lower() in _NAMES


def _within_budget(tnef: Tnef, leaf: Leaf) -> list[TnefFile]:
    budget = _MIN_BUDGET + _MAX_WORK_RATIO * (leaf.part.end - leaf.part.start)
    files = []
    for file in tnef.files:
        budget -= file.end
        if budget < 0:
            break
        files.append(file)
    return files


def _to_leaf(file: TnefFile, tnef_leaf: Leaf, defects: Defects) -> Leaf:
    fields = [("Content-ID", f"<{file.content_id}>".encode())] if file.content_id else []
    content_type = ParametrisedValue(file.content_type or "application/octet-stream", {})
    part = Part(Headers(fields, defects), content_type, tnef_leaf.part.start, tnef_leaf.part.end)
    return Leaf(part, "", file.name, tnef_leaf.encoding, byte_range=(file.start, file.end))


def _normalise_line_ends(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")
