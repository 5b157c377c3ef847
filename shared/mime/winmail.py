"""Replace a winmail.dat (TNEF) by the files that Outlook packed into it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from shared.mime.body_selection import Leaf, decoded_content, is_visible
from shared.mime.buffer import Buffer
from shared.mime.defects import Defects
from shared.mime.headers import Headers, ParametrisedValue
from shared.mime.html_text import html_to_text
from shared.mime.multipart import Part
from shared.mime.rtf import ALWAYS_READ, decompress, parse_rtf
from shared.mime.tnef import MAX_FILES, Tnef, TnefFile, parse_tnef

_KINDS = frozenset({"application/ms-tnef", "application/tnef", "application/vnd.ms-tnef"})
# Programs that store files number names that are taken, or replace them.
_NAME = re.compile(r"(?:win|winmail.{0,20}|att\d{1,10})\.dat", re.IGNORECASE)

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


def unpack_tnef(leaves: list[Leaf], buffer: Buffer, defects: Defects, *, text_start: int | None) -> UnpackResult:
    """Unpack every winmail.dat among the attachments.

    Args:
        leaves: the attachments.
        buffer: the message's bytes.
        defects: records if a winmail.dat could not be read completely.
        text_start: the position of the message's text; None if it has no visible text, so that the TNEF's text is used.
            Text after a TNEF is not the sender's (a list's footer, for example). Then the winmail.dat is kept if it
            has text.
    """
    if not any(map(_may_be_tnef, leaves)):
        return UnpackResult(leaves)
    result = UnpackResult([])
    count, rtf_size = 0, ALWAYS_READ
    for leaf in leaves:
        with_text = text_start is None or leaf.part.start < text_start
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
        text = html = ""
        if with_text and not (result.text or result.html):
            text, html = tnef.text, tnef.html
            if tnef.rtf and not (text or html):
                text, html = parse_rtf(decompress(tnef.rtf, rtf_size))
                rtf_size = 0
        is_text_hidden = text_start is not None and is_visible(text or html_to_text(html))
        if not files or not tnef.complete or len(files) < len(tnef.files) or is_text_hidden:
            result.leaves.append(leaf)
        result.leaves += [_to_leaf(file, leaf, defects) for file in files]
        if text_start is None and (text or html):
            result.text, result.html = _normalise_line_ends(text), _normalise_line_ends(html)
    return result


def _may_be_tnef(leaf: Leaf) -> bool:
    if leaf.part.opaque or leaf.byte_range is not None:
        return False
    return leaf.part.content_type.kind in _KINDS or _NAME.fullmatch(leaf.name) is not None


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
