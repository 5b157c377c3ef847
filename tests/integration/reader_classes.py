"""Classes of disagreements with mailparser and postal-mime. docs/reference/parsing.md has a verdict on each."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Final

from shared.addresses import without_invisible
from shared.mime.parser import Address, Attachment, Author
from tests.integration.reader_fields import READERS, Disagreement, is_made_from_html

Explains = Callable[[Disagreement], bool]

BODY: Final = ("text", "words", "html", "attachments")
ADDRESSES: Final = ("from", "to", "cc")
NAMES: Final = ("subject", "from", "attachments")
"""Fields with header text, which may be in any charset."""


@dataclass(frozen=True, slots=True)
class Class:
    """Disagreements with one reason.

    Attributes:
        name: the name in docs/reference/parsing.md.
        fields: the fields that it concerns.
        explains: returns whether it is the reason of a disagreement in one of these fields.
        readers: the readers that it concerns.
    """

    name: str
    fields: tuple[str, ...]
    explains: Explains
    readers: tuple[str, ...] = READERS

    def matches(self, disagreement: Disagreement) -> bool:
        """Return whether this class is the reason of a disagreement."""
        concerned = disagreement.field in self.fields and disagreement.reader in self.readers
        return concerned and self.explains(disagreement)


def defect(pattern: str) -> Explains:
    """Explain by a defect that Mailroom repaired."""
    return lambda case: any(re.search(pattern, text) for text in case.message.defects)


def source(pattern: bytes) -> Explains:
    """Explain by a pattern in the message's source."""
    compiled = re.compile(pattern, re.IGNORECASE | re.MULTILINE)
    return lambda case: compiled.search(case.mail) is not None


def named(*ids: str) -> Explains:
    """Explain by the origin of the message: a test's name, or a row of a table."""
    return lambda case: any(part in case.id for part in ids)


def either(*explanations: Explains) -> Explains:
    """Explain by any of several reasons."""
    return lambda case: any(explains(case) for explains in explanations)


def lacks_visible_text(case: Disagreement) -> bool:
    """Return whether our text is made from HTML, and the other reader shows no character of a text."""
    text = "".join(case.values["words"]).strip("\u200b\ufeff\u3164")
    return is_made_from_html(case.message) and not text and case.values["html"]


def has_other_line_ends(case: Disagreement) -> bool:
    """Return whether the attachments differ only in line ends, and in a line end at their end."""
    rest = list(case.theirs)
    if len(case.ours) != len(rest):
        return False
    for name, size, digest in case.ours:
        attachment = next(each for each in case.message.attachments if each.sha256 == digest)
        variants = {(size, digest), *rewritten(attachment)}
        same = [other for other in rest if other[0] == name and (other[1], other[2]) in variants]
        if not same:
            return False
        rest.remove(same[0])
    return True


def rewritten(attachment: Attachment) -> set[tuple[int, str]]:
    """Return size and digest of an attachment with other line ends, and with a line break at its end."""
    content = b"".join(attachment.chunks())
    line_feeds = content.replace(b"\r\n", b"\n").replace(b"\r", b"")
    trimmed = line_feeds.rstrip(b"\n")
    variants = (start + end for start, end in product((content, line_feeds, trimmed), (b"", b"\n")))
    return {(len(data), hashlib.sha256(data).hexdigest()) for data in variants}


def differs_in_quote_marks(case: Disagreement) -> bool:
    """Return whether the text is flowed, and differs only in white space and quote marks."""
    ours, theirs = ("".join(words).replace(">", "") for words in (case.ours, case.theirs))
    return b"flowed" in case.mail.lower() and ours == theirs


def is_listed_as_invalid(case: Disagreement) -> bool:
    """Return whether the field has pieces that Mailroom lists as invalid."""
    message = case.message
    return bool(message.invalid_senders if case.field == "from" else message.invalid_recipients)


def is_repaired(case: Disagreement) -> bool:
    """Return whether an address of the field was repaired."""
    message = case.message
    addresses: dict[str, tuple[Address | Author, ...]] = {"from": message.from_, "to": message.to, "cc": message.cc}
    return any(address.repaired for address in addresses[case.field])


def lists_first_author(case: Disagreement) -> bool:
    """Return whether the other reader reads the first author only."""
    return len(case.ours) > 1 and list(case.theirs) == list(case.ours[:1])


def splits_name_at_comma(case: Disagreement) -> bool:
    """Return whether the other reader takes pieces of a name with a comma for mailboxes without an address."""
    if case.field != "from":
        return bool(case.ours) and [address for address in case.theirs if address] == case.ours
    pieces = [name for name, address in case.theirs if not address]
    written = re.search(rb"^From:(.*)$", case.mail, re.MULTILINE)
    return bool(pieces and written and b"," in written[1] and len(case.ours) <= written[1].count(b","))


def lacks_address(case: Disagreement) -> bool:
    """Return whether From has no address, and only names."""
    return not case.message.from_ or all(author.address is None for author in case.message.from_)


def drops_quotes(case: Disagreement) -> bool:
    """Return whether the only difference is quotes around a local part."""
    return repr(case.theirs).replace('"', "") == repr(case.ours).replace('"', "") != repr(case.ours)


def repeats_address(case: Disagreement) -> bool:
    """Return whether the only difference is a name that repeats the address."""
    return [("" if name == address else name, address) for name, address in case.ours] == list(case.theirs)


def has_invisible_characters(case: Disagreement) -> bool:
    """Return whether the only difference is invisible characters."""
    return repr([visible_entry(entry) for entry in case.theirs]) == repr(list(case.ours))


def visible_entry(entry: str | tuple[str, str]) -> str | tuple[str, str]:
    """Return an address, or a name and an address, without invisible characters."""
    return without_invisible(entry) if isinstance(entry, str) else (entry[0], without_invisible(entry[1]))


def is_null_date(case: Disagreement) -> bool:
    """Return whether Mailroom reads no date."""
    return case.ours is None


def is_not_a_javascript_date(case: Disagreement) -> bool:
    """Return whether the other reader reads no date. mailparser takes the time of reading instead."""
    if case.theirs is None:
        return True
    age = datetime.now(UTC) - datetime.fromisoformat(f"{case.theirs}+00:00")
    return case.reader == "mailparser" and timedelta(0) <= age < timedelta(hours=1)


LABELS: Final = (
    rb"iso-2022-|cp5022|dos-862|eucgb2312_cn|=\?(gb2312|utf-7)\?"
    rb"|charset=[\"']*(cp950|big5|gb2312|ks_c|utf-7|utf-16|utf8')"
)
"""Labels of charsets, and spellings of labels, that one of the other readers does not know, or knows in part.

Python's `email` names GB 2312 `eucgb2312_cn` in encoded words.
"""

CLASSES: Final = (
    # Classes that compare the values.
    Class("line ends of files", ("attachments",), has_other_line_ends),
    # The whole message.
    Class("a message past the other reader's limits", ("error",), lambda case: "exceeded" in case.theirs),
    Class("a message past our limits", BODY, defect("there are more than|is longer than")),
    Class(
        "lines that end with a bare CR",
        ("subject", *ADDRESSES, "date", *BODY),
        lambda case: b"\r" in case.mail and b"\n" not in case.mail,
    ),
    Class(
        "blank lines or a BOM before the header",
        ("subject", "to", "words"),
        lambda case: case.mail[:1].isspace() or case.mail.startswith(b"\xef\xbb\xbf"),
    ),
    Class("a line of the header that is not a field", ("subject",), defect("a line of the header is not a field")),
    Class(
        "no empty line after a header",
        BODY,
        either(defect("no empty line between"), named("test_7_6_boundaries[parts without content]")),
    ),
    Class("NUL", ("words", *NAMES), source(rb"\0")),
    # Text.
    Class("no visible plain text", ("text",), lacks_visible_text),
    Class("text of an unknown kind", BODY, source(rb"^Content-Type: text/(?!plain|html|csv|calendar|vcard)[\w.-]")),
    Class("format=flowed", ("words",), differs_in_quote_marks),
    Class("a second text with a file name", ("words", "attachments"), source(rb"^Content-Type: text/plain; name=")),
    Class("a second page in multipart/related", BODY, source(rb"^Content-Type: multipart/related")),
    Class("multipart/digest", ("text", "attachments"), source(rb"multipart/digest"), ("mailparser",)),
    Class("uuencoded files in the text", BODY, source(rb"^begin [0-7]{3}")),
    # Charsets.
    Class("text in a charset that is not declared", ("words",), defect("no charset is named|is declared ASCII")),
    Class("text that is not in the declared charset", ("words", "attachments"), defect("not in|is unknown")),
    Class("a charset that the other reader lacks", ("words", *NAMES), source(LABELS)),
    Class("unassigned bytes of Windows-1252", ("words",), named("[latin-1 is cp1252]"), ("mailparser",)),
    Class("raw text in the header that is not UTF-8", NAMES, defect("raw (8-bit|ISO-2022)")),
    Class("raw bytes within an encoded word", ("subject", "from"), source(rb"=\?[^?\s]+\?[bq]\?[^?]*[\x80-\xff\x1b]")),
    Class("question marks within an encoded word", NAMES, source(rb"=\?[^?\s]+\?q\?[^?\n]*\?(?!=)")),
    Class("an encoded word in a wrong or unknown charset", ("subject",), source(rb"=\?(us-ascii|x-what)\?")),
    Class("a character cut between two encodings", ("subject",), named("word: split across encodings")),
    Class("other characters within base64", ("subject",), named("word: b with junk"), ("mailparser",)),
    # Structure and parameters.
    Class(
        "a multipart that cannot be read",
        BODY,
        either(
            defect("multipart (declares no|cannot|has no parts)|another boundary"),
            named("_a_boundary_does_not_make_other_types_"),
        ),
    ),
    Class("parts after the closing delimiter", ("attachments",), named("test_7_6_boundaries[more behind the end]")),
    Class("a type that cannot be read", BODY, defect("a Content-Type cannot be read")),
    Class("a structured header that is an encoded word", BODY, defect("structured header is written as")),
    Class(
        "a disposition that cannot be read",
        BODY,
        either(
            source(rb"^Content-Disposition:[ \t]*+(?!(attachment|inline)[ \t]*(;|\r?$))"),
            source(rb"^Content-Disposition:.*(,|filename:)"),
        ),
    ),
    Class("badly written parameters", BODY, either(defect("parameter"), named("_an_odd_disposition_keeps_"))),
    Class(
        "parameters without a semicolon",
        BODY,
        source(rb"^Content-Type:.*\w(\s+|\s*,\s*)(charset|name|boundary|format)\s*="),
    ),
    Class("backslashes in a file name", ("attachments",), source(rb"name=\"[^\"\n]*\\[^\"\\]")),
    Class("winmail.dat", BODY, source(rb"tnef|winmail|win\.dat|ATT\d+\.dat")),
    # Transfer encodings.
    Class("prose that is declared base64", BODY, defect("declared base64 but is")),
    Class("text after base64 data", BODY, defect("text follows base64 data")),
    Class("odd soft line breaks in quoted-printable", BODY, source(rb"=([ \t]+\r?$|\r(?!\n))")),
    # Addresses.
    Class("quoted local parts", ADDRESSES, drops_quotes, ("postal-mime",)),
    Class("an address as its own name", ("from",), repeats_address),
    Class("invisible characters in an address", ADDRESSES, has_invisible_characters),
    Class("escapes in a comment", ("to", "cc"), named("list: comment as name"), ("postal-mime",)),
    Class("more than one author", ("from",), lists_first_author),
    Class("no address in From", ("from",), lacks_address),
    Class("addresses that are repaired", ADDRESSES, either(is_repaired, source(rb"^(To|Cc): \"[^\"]*$"))),
    Class("pieces that are not addresses", ADDRESSES, is_listed_as_invalid),
    Class("a comma in a name without quotes", ADDRESSES, splits_name_at_comma),
    # Dates.
    Class("a date that is in doubt or impossible", ("date",), is_null_date),
    Class("a date that JavaScript does not read", ("date",), is_not_a_javascript_date),
    Class("a month that begins like another one", ("date",), named("month in Finnish", "month in Manx")),
    Class(
        "obsolete years, leap seconds, offsets without a sign",
        ("date",),
        named("date: three-digit year", "date: leap second", "date: no sign"),
    ),
)
