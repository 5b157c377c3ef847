"""Lists of addresses that were made to take long: what is cut off them before they are read."""

from __future__ import annotations

import re
from itertools import islice
from typing import Final

from shared.mime.defects import Defects

LONG: Final = 10_000
"""Characters up to which a list is read as it is."""

MOST_SPECIALS: Final = 2_000
"""Special characters and spaces of one mailbox: the longest display names with comments have a few dozen."""

_SEPARATOR: Final = re.compile("([,;])")
_SPECIAL: Final = re.compile(r"[()<>\[\]:@\\\"]|\s+")


def without_excess(text: str, defects: Defects) -> str:
    """Return a list of addresses without what a mailbox has after its first 2,000 special characters.

    Args:
        text: the value of a field.
        defects: where it is noted.
    """
    if len(text) <= LONG:
        return text
    pieces = _SEPARATOR.split(text)
    cut = [_cut(piece) if len(piece) > MOST_SPECIALS else piece for piece in pieces]
    if sum(map(len, cut)) == len(text):
        return text
    defects.cap(f"a mailbox in a list of addresses has more than {MOST_SPECIALS} special characters and spaces")
    return "".join(cut)


def _cut(piece: str) -> str:
    first_excess = next(islice(_SPECIAL.finditer(piece), MOST_SPECIALS, None), None)
    return piece if first_excess is None else piece[: first_excess.start()]
