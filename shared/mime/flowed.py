"""Paragraphs of text whose lines were broken for transport only: `format=flowed` (RFC 3676)."""

from __future__ import annotations

from collections.abc import Iterator

_SIGNATURE = "-- "
_SLICE = 64 * 1024  # characters
_MANY = 10_000
"""Strings after which a list is joined: a line of two characters takes 60 bytes of memory by itself."""


def unfolded(text: str, *, delete_space: bool) -> str:
    """Text with every paragraph on one line.

    Args:
        text: decoded text, its lines ended by LF.
        delete_space: `DelSp=yes`: the space that marks a broken line is none of the text, as in languages without
            spaces.

    Returns:
        The text; quoted paragraphs keep their marks, once a paragraph. The line above a signature stays alone.
    """
    out: list[str] = []
    paragraph: list[str] = []
    depth = 0
    for line in _lines(text):
        _join_many(out, "\n")
        _join_many(paragraph, "")
        if not paragraph and (not line or (line[0] not in "> " and line[-1] != " ")):
            out.append(line)  # most lines: a paragraph by itself
            depth = 0
            continue
        content = line.lstrip(">")
        quoted = len(line) - len(content)
        content = content.removeprefix(" ")  # put there lest a line look like a quote or an mbox's separator
        signature = content == _SIGNATURE
        if paragraph and (signature or quoted != depth):
            out.append(_paragraph(paragraph, depth))
            paragraph = []
        depth = quoted
        if content.endswith(" ") and not signature:
            paragraph.append(content[:-1] if delete_space else content)
        else:
            out.append(_paragraph([*paragraph, content], depth))
            paragraph = []
    if paragraph:
        out.append(_paragraph(paragraph, depth))
    return "\n".join(out)


def _lines(text: str) -> Iterator[str]:
    start = 0
    while (end := text.find("\n", start + _SLICE)) >= 0:
        yield from text[start:end].split("\n")
        start = end + 1
    yield from text[start:].split("\n")


def _join_many(pieces: list[str], joint: str) -> None:
    if len(pieces) >= _MANY:
        pieces[:] = [joint.join(pieces)]


def _paragraph(pieces: list[str], depth: int) -> str:
    text = "".join(pieces)
    return f"{'>' * depth} {text}" if depth and text else ">" * depth + text
