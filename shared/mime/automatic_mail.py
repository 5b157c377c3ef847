"""What kind of automatic mail a message is, if it is (rule 5.1).

Whoever answers mail by machine must not answer any of these kinds. Beyond that they differ in what is lost if one is
put aside: an automatic reply or a bounce is about mail of ours, a report tells of a machine, a list's mail is often
written by a person. Marks that say only that a machine sent it, or that no machine should answer it
(`Auto-Submitted: auto-generated`, `X-Auto-Response-Suppress`), are on invoices and on answers of a help desk as well:
they make no reply of a message by themselves.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from shared.addresses import normalise
from shared.mime.address_list import LONGEST_FROM, read_list
from shared.mime.defects import Defects
from shared.mime.encoded_words import decoded
from shared.mime.headers import Headers
from shared.mime.report_fields import without_comments
from shared.mime.reports import Report
from shared.mime.responders import (
    AUTOMATIC_REPLY_SUBJECT,
    AWAY_SUBJECT,
    AWAY_SUBJECT_ALONE,
    DOMINO,
    DOMINO_SUBJECT,
    FORWARDED_SUBJECT,
    LIST_FIELDS,
    NDR_SUBJECT,
    OLD_EXCHANGE,
    OLD_EXCHANGE_SUBJECT,
    RESPONDER_FIELDS,
    RESPONDER_VALUES,
    SELF_DECLARED_SUBJECT,
)

Kind = Literal["auto-reply", "out-of-office", "bounce", "report", "list"]

MOST_EVIDENCE = 30
"""Pieces of evidence that are kept."""

LONGEST_EVIDENCE = 120
"""Characters of one piece."""

_Mark = Literal[
    # What a report says of the fate of a message.
    "failed",
    "reported",
    "journal",
    "undelivered",
    # Who sent it.
    "daemon",
    "postmaster",
    "exchange",
    "unreturnable",
    # It says itself that it is an answer.
    "away",
    "reply",
    # It went to many.
    "list",
    "bulk",
    # A machine sent it, or no machine should answer it.
    "generated",
    "suppress",
]
_Found = tuple[_Mark, str, str]
"""A mark, the field that bears it, and its value."""

_NO = frozenset({"no", "none", "false", "off", "0"})
_WANTS_NO_REPLY = frozenset({"all", "oof", "autoreply"})
_PRECEDENCES: dict[str, _Mark] = {"bulk": "bulk", "junk": "bulk", "list": "bulk", "auto_reply": "reply"}

_SYSTEM = re.compile(r"mailer[-_]?daemon|postmaster|microsoftexchange", re.IGNORECASE)
_DAEMON = re.compile(r"mailer[-_]?daemon")
_EXCHANGE = re.compile(r"microsoftexchange[0-9a-f]{32}")
_OF_EXCHANGE: tuple[tuple[str, _Mark], ...] = (
    ("X-MS-Exchange-Message-Is-Ndr", "undelivered"),
    ("X-MS-Journal-Report", "journal"),
)
_OF_RESPONDERS = frozenset(
    name.lower() for name in (*RESPONDER_FIELDS, *(name for name, _ in RESPONDER_VALUES), "X-Auto-Response-Suppress")
)
_OF_MACHINES = _OF_RESPONDERS | {
    "x-failed-recipients", "auto-submitted", "precedence", "list-id", *(name.lower() for name, _ in _OF_EXCHANGE)
}  # fmt: skip
_TOKENS = re.compile(r"[a-z0-9_-]+")
_REPLIED = re.compile(r"auto[-_]repl(?:ied|y)")
_AWAY = re.compile(
    r"\b(?:vacation|out[ _-]?of[ _-]?(?:the[ _-]?)?office|oof|ooo|away|absence|abwesen\w*)\b", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Automatic:
    """That a message is automatic, and why.

    Attributes:
        kind: which kind.
        evidence: what said so, such as `Auto-Submitted: auto-replied`.
    """

    kind: Kind
    evidence: tuple[str, ...]


def automatic(headers: Headers, report: Report | None, subject: str | None = None) -> Automatic | None:
    """Return what kind of automatic mail a message is.

    The first of these that holds:

    1. `bounce`: a delivery report with a failed recipient, or `X-Failed-Recipients`.
    2. `report`: any other `multipart/report` or delivery status: delayed or delivered, read, a complaint. If it tells
       of no recipient at all and a mail system sent it, `bounce`. A journal report, and mail from Exchange's system
       address that is not an automatic reply, unless it has the marks of a non-delivery report: then `bounce`.
    3. `out-of-office`: `Auto-Submitted` (RFC 3834) or a responder's field with a word for it; or the subject begins as
       such replies do, beside evidence that a machine sent it. `Precedence: bulk` or `junk` is evidence only without
       a field of a list.
    4. `bounce`: from a mailer-daemon; or from a postmaster with a null return path.
    5. `auto-reply`: `Auto-Submitted: auto-replied`, `Precedence: auto_reply`, a responder's field; a reply by one of
       Exchange's rules; or a null return path beside any other mark of a machine, as responders have it.
    6. `list`: `List-Id` (RFC 2919).
    7. `bounce`: from a postmaster, or a null return path, and nothing that says what else it is.
    8. `list`: `Precedence: bulk`, `junk` or `list`.
    9. `report`: any other `Auto-Submitted` but `no`, and `X-Auto-Response-Suppress` if it suppresses replies (what
       suppresses receipts alone says nothing). `Message.report` is None then: a machine reports something of its own.

    Args:
        headers: the message's.
        report: what `read_report` found in it.
        subject: decoded; None to read it from the headers.

    Returns:
        None if nothing says that it is automatic.
    """
    marks: dict[_Mark, None] = {}
    evidence: dict[str, None] = {}
    for mark, name, value in _all_marks(headers, report):
        marks[mark] = None
        if len(evidence) < MOST_EVIDENCE:
            evidence[_told(name, value)] = None
    if subject is None:
        subject = decoded(next(iter(headers.texts("subject")), ""), Defects())
    for mark in _subject_marks(subject, headers, set(marks)):
        marks[mark] = None
        evidence[_told("Subject", subject)] = None
    kind = _kind(set(marks), report)
    return Automatic(kind, tuple(evidence)) if kind else None


def _kind(marks: set[_Mark], report: Report | None) -> Kind | None:
    return _kind_of_report(marks, report) or _kind_of_message(marks)


def _kind_of_report(marks: set[_Mark], report: Report | None) -> Kind | None:
    """Return the kind of what a mail system reports."""
    if "failed" in marks:
        return "bounce"
    if "journal" in marks:
        return "report"
    if report is not None and "reported" in marks:
        from_system = marks & {"daemon", "postmaster", "exchange"}
        return "bounce" if from_system and report.kind == "delivery" and not report.others else "report"
    if "undelivered" in marks:
        return "bounce"
    # Exchange's system address also warns of quotas and asks for approval, with a null return path too.
    return "report" if "exchange" in marks and not marks & {"daemon", "postmaster"} else None


def _kind_of_message(marks: set[_Mark]) -> Kind | None:
    if "away" in marks:
        return "out-of-office"
    if "daemon" in marks or {"postmaster", "unreturnable"} <= marks:
        return "bounce"
    if "reply" in marks or ("unreturnable" in marks and marks & {"generated", "suppress", "bulk"}):
        return "auto-reply"
    if "list" in marks:
        return "list"
    if marks & {"daemon", "postmaster", "unreturnable"}:
        return "bounce"
    if "bulk" in marks:
        return "list"
    return "report" if marks else None


def _all_marks(headers: Headers, report: Report | None) -> Iterator[_Found]:
    if report is not None or headers.has_any(_OF_MACHINES):
        yield from _reported(headers, report)
        yield from _auto_submitted(headers)
        yield from _responders(headers)
        yield from _sent_to_many(headers)
    for text in headers.texts("return-path"):
        if "".join(without_comments(text).split()) in {"<>", "<<>>"}:
            yield "unreturnable", "Return-Path", text
    yield from _senders(headers)


def _reported(headers: Headers, report: Report | None) -> Iterator[_Found]:
    if report is not None and report.found_in:
        yield "reported", "Content-Type", report.found_in
        if report.failed:
            yield "failed", "Action", "failed"
    for text in headers.texts("x-failed-recipients"):
        if text.strip():
            yield "failed", "X-Failed-Recipients", text
    for name, mark in _OF_EXCHANGE:
        for text in headers.texts(name.lower())[:1]:
            yield mark, name, text


def _auto_submitted(headers: Headers) -> Iterator[_Found]:
    """The keyword is the first word; responders say what they are in a comment or behind it."""
    for text in headers.texts("auto-submitted"):
        keyword = _TOKENS.search(without_comments(text).partition(";")[0].lower())
        if keyword and keyword[0] != "no":
            yield "reply" if _REPLIED.fullmatch(keyword[0]) else "generated", "Auto-Submitted", text
            if _AWAY.search(text):
                yield "away", "Auto-Submitted", text


def _responders(headers: Headers) -> Iterator[_Found]:
    """Fields that were there before RFC 3834, and that of Exchange."""
    if not headers.has_any(_OF_RESPONDERS):
        return
    for name in RESPONDER_FIELDS:
        for text in headers.texts(name.lower()):
            if without_comments(text).lower() not in _NO:
                yield "reply", name, text
                if name == "X-Vacation" or _AWAY.match(text.lstrip()):
                    yield "away", name, text
    for name, pattern in RESPONDER_VALUES:
        yield from (("reply", name, text) for text in headers.texts(name.lower()) if pattern.match(text))
    for text in headers.texts("x-auto-response-suppress"):
        if _WANTS_NO_REPLY & set(_TOKENS.findall(text.lower())):
            yield "suppress", "X-Auto-Response-Suppress", text


def _sent_to_many(headers: Headers) -> Iterator[_Found]:
    for text in headers.texts("precedence"):
        words = {word.replace("-", "_") for word in _TOKENS.findall(without_comments(text).lower())}
        for mark in sorted({_PRECEDENCES[word] for word in words & _PRECEDENCES.keys()}):
            yield mark, "Precedence", text
    for text in headers.texts("list-id"):
        if text.strip():
            yield "list", "List-Id", text


def _senders(headers: Headers) -> Iterator[_Found]:
    """Mail systems among the senders. Some leave out the domain, so that it is no address."""
    for name in ("From", "Sender"):
        for text in headers.texts(name.lower()):
            if len(text) > LONGEST_FROM or not _SYSTEM.search(text):
                continue  # nearly all mail
            found, invalid = read_list(text, Defects(), recover=False)
            words = [normalise(one.address) or "" for one in found]
            words += [without_comments(piece).rpartition("<")[2].strip('<>" ').lower() for piece in invalid]
            for word in words:
                local = word.rpartition("@")[0] or word
                if _DAEMON.fullmatch(local):
                    yield "daemon", name, word
                elif _EXCHANGE.fullmatch(local):
                    yield "exchange", name, word
                elif local == "postmaster":
                    yield "postmaster", name, word


def _subject_marks(subject: str, headers: Headers, marks: set[_Mark]) -> Iterator[_Mark]:
    if _says_away(subject, headers, marks):
        yield "away"
    elif _is_a_reply_of_exchange(subject, headers, marks):
        yield "reply"
    if "exchange" in marks and NDR_SUBJECT.match(subject):
        yield "undelivered"


def _says_away(subject: str, headers: Headers, marks: set[_Mark]) -> bool:
    """Return whether a subject is that of an absence, and other evidence says that a machine wrote it."""
    if SELF_DECLARED_SUBJECT.match(subject):
        return True
    if marks & {"reply", "generated", "suppress", "unreturnable"} and AWAY_SUBJECT.match(subject):
        return True
    if "suppress" in marks and AUTOMATIC_REPLY_SUBJECT.match(subject):
        return True
    if "bulk" in marks and AWAY_SUBJECT_ALONE.match(subject) and not _is_of_a_list(headers):
        return True
    if subject.startswith("AUTO:") and DOMINO_SUBJECT.match(subject) and _is_of_domino(headers):
        return True
    mime_ole = headers.texts("x-mimeole")
    return bool(mime_ole and OLD_EXCHANGE.match(mime_ole[0]) and OLD_EXCHANGE_SUBJECT.match(subject))


def _is_of_a_list(headers: Headers) -> bool:
    if any(headers.texts(name) for name in LIST_FIELDS):
        return True
    return any("list" in _TOKENS.findall(text.lower()) for text in headers.texts("precedence"))


def _is_of_domino(headers: Headers) -> bool:
    return bool(headers.texts("x-mimetrack")) or any(DOMINO.search(text) for text in headers.texts("x-mailer"))


def _is_a_reply_of_exchange(subject: str, headers: Headers, marks: set[_Mark]) -> bool:
    """Return whether one of Exchange's rules answered, in whatever language: a forwarded message is not an answer."""
    sources = headers.texts("x-ms-exchange-generated-message-source")
    return (
        {"generated", "suppress"} <= marks
        and any("mailbox rules agent" in text.lower() for text in sources)
        and bool(headers.texts("in-reply-to"))
        and not FORWARDED_SUBJECT.match(subject)
    )


def _told(name: str, value: str) -> str:
    text = f"{name}: {decoded(value[: 4 * LONGEST_EVIDENCE], Defects())}"
    return text if len(text) <= LONGEST_EVIDENCE else text[: LONGEST_EVIDENCE - 1] + "…"
