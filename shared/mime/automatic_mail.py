"""The kind of automatic mail that a message is (rule 5.1).

An automatic responder must not reply to any of these kinds. They differ in what an application loses by ignoring them.
An automatic reply or a bounce concerns mail that we sent, a report concerns a system, and list mail is often written by
a person. Some marks only say that a machine sent the message, or that no machine should answer it
(`Auto-Submitted: auto-generated`, `X-Auto-Response-Suppress`). Invoices and help desk answers carry them as well, so
these marks alone do not make a message a reply.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from shared.addresses import normalise
from shared.mime.address_list import MAX_FROM_LENGTH, read_list
from shared.mime.defects import Defects
from shared.mime.encoded_words import decode_words
from shared.mime.headers import Headers
from shared.mime.reports import Report, without_comments
from shared.mime.responders import (
    ABSENCE_AS_REPLY,
    AWAY_SUBJECT,
    AWAY_SUBJECT_ALONE,
    AWAY_SUBJECT_GENERATED,
    DOMINO,
    DOMINO_SENTENCE,
    DOMINO_SUBJECT,
    FORWARDED_SUBJECT,
    GATEWAY_TAGS,
    LIST_FIELDS,
    NDR_SUBJECT,
    OLD_EXCHANGE,
    OLD_EXCHANGE_SUBJECT,
    QUOTA_SUBJECT,
    REPLY_SUBJECT,
    REPLY_SUBJECT_ALONE,
    RESPONDER_FIELDS,
    RESPONDER_VALUES,
    RETURN,
    SELF_DECLARED_SUBJECT,
    SUPPRESSING_SUBJECT,
)

Kind = Literal["auto-reply", "out-of-office", "bounce", "report", "list"]

MAX_EVIDENCE = 30
"""Maximum number of pieces of evidence."""

MAX_EVIDENCE_LENGTH = 120
"""Maximum length of one piece in characters."""

_Mark = Literal[
    # From a report about another message.
    "failed",
    "reported",
    "journal",
    "undelivered",
    "quota",
    # From the sender.
    "daemon",
    "postmaster",
    "exchange",
    "unreturnable",
    # The message declares itself an answer.
    "away",
    "reply",
    "titled",
    # Sent to many recipients.
    "list",
    "bulk",
    "bulk-alike",
    # Sent by a machine, or not to be answered by a machine.
    "generated",
    "suppress",
]
_DECIDES_NOTHING: frozenset[_Mark] = frozenset({"postmaster", "bulk-alike"})
"""Marks that count only together with others. People write from `postmaster`, too (RFC 2142 section 5)."""

_Evidence = tuple[_Mark, str, str]
"""A mark, the field that carries it, and the field's value."""

_NEGATIVE_VALUES = frozenset({"no", "none", "false", "off", "0"})
_SUPPRESSES_REPLIES = frozenset({"all", "oof", "autoreply"})
_PRECEDENCES: dict[str, _Mark] = {"bulk": "bulk", "junk": "bulk", "list": "bulk", "auto_reply": "reply"}

_SYSTEM_SENDER = re.compile(r"mailer[-_]?daemon|postmaster|microsoftexchange", re.IGNORECASE)
_MAILER_DAEMON = re.compile(r"mailer[-_]?daemon")
_EXCHANGE_SYSTEM_ADDRESS = re.compile(r"microsoftexchange[0-9a-f]{32}")
_EXCHANGE_FIELDS: tuple[tuple[str, _Mark], ...] = (
    ("X-MS-Exchange-Message-Is-Ndr", "undelivered"),
    ("X-MS-Journal-Report", "journal"),
)
# Journal reports of Exchange 2003 and of Citadel. The first spelling is Microsoft's.
_JOURNAL_FIELDS = ("Content-Identifer", "Content-Identifier")
_JOURNAL_VALUE = "exjournalreport"
_RESPONDER_NAMES = frozenset(
    name.lower() for name in (*RESPONDER_FIELDS, *(name for name, _ in RESPONDER_VALUES), "X-Auto-Response-Suppress")
)
_MACHINE_NAMES = _RESPONDER_NAMES | {
    "x-failed-recipients", "auto-submitted", "precedence", "list-id", *(name.lower() for name, _ in _EXCHANGE_FIELDS),
    *(name.lower() for name in _JOURNAL_FIELDS),
}  # fmt: skip
_DOMINO_NAMES = frozenset({"x-mimetrack"})
# Without these fields and beginnings, only other marks make a subject count.
_SIGNIFICANT_NAMES = _DOMINO_NAMES | {"x-mimeole"}
_SIGNIFICANT_SUBJECT = re.compile(r"\s*(?:[\[{*]|auto|extern|out)", re.IGNORECASE)
_MAX_SUBJECT = 1000  # characters; the patterns match at the beginning
_TOKEN = re.compile(r"[a-z0-9_-]+")
_AUTO_REPLIED = re.compile(r"auto[-_]repl(?:ied|y)")
_ABSENCE = re.compile(
    r"\b(?:vacation|out[ _-]?of[ _-]?(?:the[ _-]?)?office|oof|ooo|away|absence|abwesen\w*)\b", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Automatic:
    """The kind of an automatic message, with evidence.

    Attributes:
        kind: the kind.
        evidence: the fields that show it, such as `Auto-Submitted: auto-replied`.
    """

    kind: Kind
    evidence: tuple[str, ...]


def classify_automatic_mail(headers: Headers, report: Report | None, subject: str | None = None) -> Automatic | None:
    """Return the kind of automatic mail that a message is.

    The first rule that applies decides:

    1. `bounce`: a delivery report with a failed recipient, or `X-Failed-Recipients`.
    2. `report`: any other `multipart/report` or delivery status: delayed or delivered, read, a complaint. If it names
       no recipient and a mail system sent it, `bounce`. Also a journal report, and mail from Exchange's system
       address that is not an automatic reply; with the marks of a non-delivery report, `bounce`. From a postmaster,
       the subject of a non-delivery report is such a mark, and a quota warning with a null return path is a `report`.
    3. `out-of-office`: `Auto-Submitted` (RFC 3834) or a responder's field that mentions an absence. Or the subject
       begins as such replies do, and other evidence shows that a machine sent it. `Precedence: bulk` or `junk` is
       evidence only without a mailing list field. With it, or with nothing but `Auto-Submitted: auto-generated`, the
       subject must also continue as such replies do, because newsletters and notifications are about absences as well.
    4. `bounce`: from a mailer-daemon; or from a postmaster with a null return path, unless the subject is that of an
       automatic reply.
    5. `auto-reply`: `Auto-Submitted: auto-replied`, `Precedence: auto_reply`, a responder's field; a reply by an
       Exchange rule; or a null return path with any other mark of a machine, as responders send it. Also the subject
       of an automatic reply with a null return path, which RFC 3834 section 3.3 recommends, or with `Precedence:
       bulk` or `junk`, and without a mailing list field.
    6. `list`: `List-Id` (RFC 2919).
    7. `bounce`: a null return path without marks of another kind.
    8. `list`: `Precedence: bulk`, `junk` or `list`.
    9. `report`: any other `Auto-Submitted` except `no`, and `X-Auto-Response-Suppress` if it suppresses replies.
       (Suppressing receipts alone is not evidence.) `Message.report` is None then: a machine reports something else.

    Args:
        headers: the message's headers.
        report: the result of `read_report`.
        subject: the decoded subject; None to read it from the headers.

    Returns:
        None without evidence that the message is automatic.
    """
    marks: dict[_Mark, None] = {}
    evidence: dict[str, None] = {}
    for mark, name, value in _all_marks(headers, report):
        marks[mark] = None
        if len(evidence) < MAX_EVIDENCE:
            evidence[_format_evidence(name, value)] = None
    if subject is None:
        subject = decode_words(next(iter(headers.get_all("subject")), ""), Defects())
    for mark in _subject_marks(subject, headers, set(marks)):
        marks[mark] = None
        evidence[_format_evidence("Subject", subject)] = None
    kind = _decide_kind(set(marks), report)
    return Automatic(kind, tuple(evidence)) if kind else None


def _decide_kind(marks: set[_Mark], report: Report | None) -> Kind | None:
    return _report_kind(marks, report) or _message_kind(marks)


def _report_kind(marks: set[_Mark], report: Report | None) -> Kind | None:
    """Return the kind of a report from a mail system."""
    if "failed" in marks:
        return "bounce"
    if "journal" in marks:
        return "report"
    if report is not None and "reported" in marks:
        from_system = marks & {"daemon", "postmaster", "exchange"}
        return "bounce" if from_system and report.kind == "delivery" and not report.others else "report"
    if "undelivered" in marks:
        return "bounce"
    if "quota" in marks:
        return "report"
    # Exchange's system address also sends quota warnings and approval requests, with a null return path too.
    return "report" if "exchange" in marks and not marks & {"daemon", "postmaster"} else None


def _message_kind(marks: set[_Mark]) -> Kind | None:
    if "away" in marks:
        return "out-of-office"
    if "daemon" in marks or ({"postmaster", "unreturnable"} <= marks and "titled" not in marks):
        return "bounce"
    if marks & {"reply", "titled"} or ("unreturnable" in marks and marks & {"generated", "suppress", "bulk"}):
        return "auto-reply"
    if "list" in marks:
        return "list"
    if "unreturnable" in marks:
        return "bounce"
    if "bulk" in marks:
        return "list"
    return "report" if marks - _DECIDES_NOTHING else None


def _all_marks(headers: Headers, report: Report | None) -> Iterator[_Evidence]:
    if report is not None or headers.has_any(_MACHINE_NAMES):
        yield from _report_marks(headers, report)
        yield from _auto_submitted_marks(headers)
        yield from _responder_marks(headers)
        yield from _list_marks(headers)
    for text in headers.get_all("return-path"):
        if "".join(without_comments(text).split()) in {"<>", "<<>>"}:
            yield "unreturnable", "Return-Path", text
    yield from _sender_marks(headers)


def _report_marks(headers: Headers, report: Report | None) -> Iterator[_Evidence]:
    if report is not None and report.fields_type:
        yield "reported", "Content-Type", report.fields_type
        if report.failed:
            yield "failed", "Action", "failed"
    for text in headers.get_all("x-failed-recipients"):
        if text.strip():
            yield "failed", "X-Failed-Recipients", text
    for name, mark in _EXCHANGE_FIELDS:
        for text in headers.get_all(name.lower())[:1]:
            yield mark, name, text
    for name in _JOURNAL_FIELDS:
        for text in headers.get_all(name.lower())[:1]:
            if text.strip().lower() == _JOURNAL_VALUE:
                yield "journal", name, text


def _auto_submitted_marks(headers: Headers) -> Iterator[_Evidence]:
    """Return the marks of `Auto-Submitted`: its first word, and mentions of an absence in a comment or after it."""
    for text in headers.get_all("auto-submitted"):
        keyword = _TOKEN.search(without_comments(text).partition(";")[0].lower())
        if keyword and keyword[0] != "no":
            yield "reply" if _AUTO_REPLIED.fullmatch(keyword[0]) else "generated", "Auto-Submitted", text
            if _ABSENCE.search(text):
                yield "away", "Auto-Submitted", text


def _responder_marks(headers: Headers) -> Iterator[_Evidence]:
    """Return the marks of responders' fields that predate RFC 3834, and of Exchange's field."""
    if not headers.has_any(_RESPONDER_NAMES):
        return
    for name in RESPONDER_FIELDS:
        for text in headers.get_all(name.lower()):
            if without_comments(text).lower() not in _NEGATIVE_VALUES:
                yield "reply", name, text
                if name == "X-Vacation" or _ABSENCE.match(text.lstrip()):
                    yield "away", name, text
    for name, pattern in RESPONDER_VALUES:
        yield from (("reply", name, text) for text in headers.get_all(name.lower()) if pattern.match(text))
    for text in headers.get_all("x-auto-response-suppress"):
        if _SUPPRESSES_REPLIES & set(_TOKEN.findall(text.lower())):
            yield "suppress", "X-Auto-Response-Suppress", text


def _list_marks(headers: Headers) -> Iterator[_Evidence]:
    for text in headers.get_all("precedence"):
        words = {word.replace("-", "_") for word in _TOKEN.findall(without_comments(text).lower())}
        for mark in sorted({_PRECEDENCES[word] for word in words & _PRECEDENCES.keys()}):
            yield mark, "Precedence", text
    for text in headers.get_all("x-precedence"):
        if _TOKEN.findall(text.lower())[:1] in (["bulk"], ["junk"]):
            yield "bulk-alike", "X-Precedence", text
    for text in headers.get_all("list-id"):
        if text.strip():
            yield "list", "List-Id", text


def _sender_marks(headers: Headers) -> Iterator[_Evidence]:
    """Return the marks of mail systems among the senders. Some omit the domain, so that they are not addresses."""
    for name in ("From", "Sender"):
        for text in headers.get_all(name.lower()):
            if len(text) > MAX_FROM_LENGTH or not _SYSTEM_SENDER.search(text):
                continue  # true for nearly all mail
            addresses, invalid = read_list(text, Defects(), recover=False)
            words = [normalise(address.address) or "" for address in addresses]
            words += [without_comments(piece).rpartition("<")[2].strip('<>" ').lower() for piece in invalid]
            for word in words:
                local = word.rpartition("@")[0] or word
                if _MAILER_DAEMON.fullmatch(local):
                    yield "daemon", name, word
                elif _EXCHANGE_SYSTEM_ADDRESS.fullmatch(local):
                    yield "exchange", name, word
                elif local == "postmaster":
                    yield "postmaster", name, word


def _subject_marks(subject: str, headers: Headers, marks: set[_Mark]) -> Iterator[_Mark]:
    if not marks and not headers.has_any(_SIGNIFICANT_NAMES) and not _SIGNIFICANT_SUBJECT.match(subject):
        return  # nearly all mail
    text = _normalise_subject(subject)
    on_list = _has_list_field(headers)
    if not on_list and (tags := GATEWAY_TAGS.match(text)):
        text = text[tags.end() :]
    if _announces_absence(text, headers, marks, on_list=on_list):
        yield "away"
    elif _is_exchange_rule_reply(text, headers, marks):
        yield "reply"
    elif not on_list and _is_titled_reply(text, marks):
        yield "titled"
    if marks & {"exchange", "postmaster"} and NDR_SUBJECT.match(text):
        yield "undelivered"
    if {"postmaster", "unreturnable"} <= marks and QUOTA_SUBJECT.match(text):
        yield "quota"


def _normalise_subject(subject: str) -> str:
    """Return the beginning of a subject with composed accents and single spaces, as the patterns have them."""
    text = subject[:_MAX_SUBJECT]
    return " ".join((text if text.isascii() else unicodedata.normalize("NFC", text)).split())


def _announces_absence(subject: str, headers: Headers, marks: set[_Mark], *, on_list: bool) -> bool:
    """Return whether a subject announces an absence, and other evidence shows that a machine wrote it."""
    if SELF_DECLARED_SUBJECT.match(subject):
        return True
    if marks & {"reply", "unreturnable"} and AWAY_SUBJECT.match(subject):
        return True
    if "suppress" in marks and SUPPRESSING_SUBJECT.match(subject):
        return True
    if "generated" in marks and AWAY_SUBJECT_GENERATED.match(subject):
        return True
    is_bulk = bool(marks & {"bulk", "bulk-alike"}) and not on_list
    if is_bulk and AWAY_SUBJECT_ALONE.match(subject):
        return True
    if (is_bulk or marks & {"reply", "unreturnable"}) and ABSENCE_AS_REPLY.match(subject):
        return True
    if _is_from_domino_agent(subject, headers, marks):
        return True
    mime_ole = headers.get_all("x-mimeole")
    return bool(mime_ole and OLD_EXCHANGE.match(mime_ole[0]) and OLD_EXCHANGE_SUBJECT.match(subject))


def _is_titled_reply(subject: str, marks: set[_Mark]) -> bool:
    """Return whether the subject is that of an automatic reply, and the message is sent as responders send it."""
    if "unreturnable" in marks and REPLY_SUBJECT.match(subject):
        return True
    return bool(marks & {"bulk", "bulk-alike"}) and REPLY_SUBJECT_ALONE.match(subject) is not None


def _has_list_field(headers: Headers) -> bool:
    if headers.has_any(LIST_FIELDS):
        return True
    return any("list" in _TOKEN.findall(text.lower()) for text in headers.get_all("precedence"))


def _is_from_domino_agent(subject: str, headers: Headers, marks: set[_Mark]) -> bool:
    """Return whether Domino's out-of-office service or agent wrote a subject; the old agent omits `AUTO:`."""
    if subject.startswith("AUTO"):
        match = DOMINO_SUBJECT.match(subject)
        if not match or not (marks & {"reply", "generated", "suppress", "unreturnable"} or _is_from_domino(headers)):
            return False
        note = match["note"]
        return not note or bool(RETURN.search(note)) or bool(_after_author(match["sentence"], headers))
    if not headers.has_any(_DOMINO_NAMES):
        return False
    return DOMINO_SENTENCE.fullmatch(_after_author(subject, headers)) is not None


def _is_from_domino(headers: Headers) -> bool:
    return headers.has_any(_DOMINO_NAMES) or any(DOMINO.search(text) for text in headers.get_all("x-mailer"))


def _after_author(text: str, headers: Headers) -> str:
    """Return the text after the name in From with which it begins; "" if it begins otherwise."""
    for value in headers.get_all("from")[:1]:
        addresses = [] if len(value) > MAX_FROM_LENGTH else read_list(value, Defects(), recover=False)[0]
        for address in addresses[:1]:
            name = address.name.partition("/")[0].strip()  # of a Domino name such as `Ann Example/Sales/Example`
            if name and text[: len(name)].casefold() == name.casefold():
                return text[len(name) :]
    return ""


def _is_exchange_rule_reply(subject: str, headers: Headers, marks: set[_Mark]) -> bool:
    """Return whether an Exchange rule replied, in any language. A forwarded message is not a reply."""
    sources = headers.get_all("x-ms-exchange-generated-message-source")
    return (
        {"generated", "suppress"} <= marks
        and any("mailbox rules agent" in text.lower() for text in sources)
        and bool(headers.get_all("in-reply-to"))
        and not FORWARDED_SUBJECT.match(subject)
    )


def _format_evidence(name: str, value: str) -> str:
    text = f"{name}: {decode_words(value[: 4 * MAX_EVIDENCE_LENGTH], Defects())}"
    return text if len(text) <= MAX_EVIDENCE_LENGTH else text[: MAX_EVIDENCE_LENGTH - 1] + "…"
