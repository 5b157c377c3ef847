"""The kind of automatic mail that a message is, and the evidence."""

import json
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.documents.message_document import message_fields
from shared.mime.automatic_mail import MAX_EVIDENCE, MAX_EVIDENCE_LENGTH
from shared.mime.buffer import Buffer
from shared.mime.parser import Message, parse, read_message
from tests.cpu_time import within

GUARD = 4  # seconds for a third of a megabyte, as `within` counts them

FROM = "From: Jo <jo@a.example>\nTo: us@us.example\n"
SYSTEM = "From: MAILER-DAEMON@a.example (Mail Delivery System)\n"
POSTMASTER = "From: Postmaster <postmaster@a.example>\n"
EXCHANGE = "From: <MicrosoftExchange329e71ec88ae4615bbc36ab6ce41109e@a.example>\n"
NULL = "Return-Path: <>\n"


def read(header: str, body: str = "x") -> Message:
    return parse(f"{header}\n{body}\n".encode())


def dsn(action: str) -> str:
    """Return header and body of a delivery report."""
    fields = f"Final-Recipient: rfc822; x@b.example\nAction: {action}\n" if action else "x"
    return (
        "Content-Type: multipart/report; report-type=delivery-status; boundary=b\n\n"
        f"--b\n\nSorry.\n--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; m\n\n{fields}--b--\n"
    )


def mdn(kind: str) -> str:
    return (
        f"Content-Type: multipart/report; report-type={kind}; boundary=b\n\n--b\nContent-Type: message/{kind}\n\nx: y\n"
    )


NAMED = "From: Jo Roe <jo@a.example>\nTo: us@us.example\n"
DOMINO = "X-MIMETrack: Serialize by Router on M1/A\n"
OOF = "Auto-Submitted: auto-generated\nX-Auto-Response-Suppress: All\nX-MS-Exchange-Inbox-Rules-Loop: jo@a.example\n"

REAL: dict[str, tuple[str, str | None]] = {
    # People.
    "a person": (f"{FROM}Subject: hello\n", None),
    "a person's reply to an absence": (f"{FROM}Subject: Re: Automatic reply: hello\n", None),
    "a person's absence": (f"{FROM}Subject: Out of office on Friday\n", None),
    "said to be no machine": (f"{FROM}Auto-Submitted: no\n", None),
    "said so with a comment": (f"{FROM}Auto-Submitted: (by hand) No (really)\n", None),
    "empty": (f"{FROM}Auto-Submitted:\nPrecedence:\nList-Id:\nX-Failed-Recipients:\nReturn-Path:\n", None),
    "first class": (f"{FROM}Precedence: first-class\nReturn-Path: <jo@a.example>\nX-Autoreply: no\n", None),
    "wants no receipts": (f"{FROM}X-Auto-Response-Suppress: DR, RN, NRN, NDR\n", None),
    "wants nothing suppressed": (f"{FROM}X-Auto-Response-Suppress: None\n", None),
    "called postmaster": ('From: "Postmaster mailer-daemon" <jo@a.example>\n', None),
    "at a host of that name": ("From: jo@postmaster.example\n", None),
    # A person or a system that writes from postmaster (RFC 2142).
    "postmaster": (POSTMASTER, None),
    "postmaster's answer": (f"{POSTMASTER}Return-Path: <postmaster@a.example>\nSubject: Re: block list\n", None),
    "postmaster as sender": (f"{FROM}Sender: postmaster@a.example\n", None),
    "postmaster's topic": (f"{POSTMASTER}Subject: Delivery failures on Monday\n", None),
    "postmaster's forward": (f"{POSTMASTER}Subject: FW: Undeliverable: x\n", None),
    "postmaster's quota": (f"{POSTMASTER}Subject: Quota warning: 90% full\n", None),
    "postmaster's quota, null return path": (f"{NULL}{POSTMASTER}Subject: Your mailbox is 90% full\n", "report"),
    "quota, generated": (f"{NULL}{POSTMASTER}Auto-Submitted: auto-generated\nSubject: Quota warning: x\n", "report"),
    "postmaster and a machine": (f"{POSTMASTER}Auto-Submitted: auto-generated\nSubject: Report Domain: x\n", "report"),
    "postmaster's newsletter": (f"{POSTMASTER}Precedence: bulk\nSubject: Maintenance on Sunday\n", "list"),
    "postmaster's automatic reply": (f"{NULL}{POSTMASTER}Subject: Automatic reply: x\n", "auto-reply"),
    # Bounces.
    "postfix": (f"{NULL}{SYSTEM}Auto-Submitted: auto-replied\n{dsn('failed')}", "bounce"),
    "exchange": (
        (
            f"{POSTMASTER}Auto-Submitted: auto-replied\nX-Auto-Response-Suppress: All\nSubject: Undeliverable: x\n"
            f"{dsn('failed')}"
        ),
        "bounce",
    ),
    "exchange without a report": (
        f"{NULL}From: <MicrosoftExchange329e71ec88ae4615bbc36ab6ce41109e@a.example>\nSubject: Undeliverable: x\n",
        "bounce",
    ),
    "gmail": (
        (
            f"{NULL}From: Mail Delivery Subsystem <mailer-daemon@googlemail.com>\nAuto-Submitted: auto-replied\n"
            f"X-Failed-Recipients: x@b.example\n{dsn('failed')}"
        ),
        "bounce",
    ),
    "exim": (
        (
            "Return-path: <>\nFrom: Mail Delivery System <Mailer-Daemon@a.example>\nAuto-Submitted: auto-replied\n"
            "X-Failed-Recipients: x@b.example\n"
        ),
        "bounce",
    ),
    "qmail": (
        f"{NULL}From: MAILER-DAEMON@a.example\nSubject: failure notice\n\nHi. This is the qmail-send\n",
        "bounce",
    ),
    "qmail of a double bounce": ("Return-Path: <#@[]>\nFrom: MAILER-DAEMON@a.example\n", "bounce"),
    "without a domain": ("From: MAILER-DAEMON (Mail Delivery System)\n", "bounce"),
    "without a domain, in brackets": ('From: "Mail Delivery" <MAILER-DAEMON>\n', "bounce"),
    "as sender": (f"{FROM}Sender: mailer-daemon@a.example\n", "bounce"),
    "null return path": (f"{NULL}{FROM}", "bounce"),
    "doubled null return path": (f"Return-Path: <<>>\n{FROM}", "bounce"),
    "null return path with white space": (f"Return-Path: (none) < >\n{FROM}", "bounce"),
    "second return path": (f"Return-Path: <jo@a.example>\nReturn-Path: <>\n{FROM}", "bounce"),
    "postmaster and a null return path": (f"{NULL}{POSTMASTER}", "bounce"),
    "postmaster's quota without a mailbox": (f"{NULL}{POSTMASTER}Subject: Mailbox full\n", "bounce"),
    "report without recipients": (f"{SYSTEM}{dsn('')}", "bounce"),
    "report that went through a list": (f"{FROM}List-Id: <l.a.example>\nPrecedence: list\n{dsn('failed')}", "bounce"),
    "postmaster's subject": (f"{POSTMASTER}Subject: Undeliverable: x\n", "bounce"),
    "domino's subject": (f"{POSTMASTER}Subject: DELIVERY FAILURE: User x not listed\n", "bounce"),
    "sendmail's subject": (f"{POSTMASTER}Subject: Returned mail: see transcript for details\n", "bounce"),
    "one failed, in an absence": (f"{OOF}Subject: Out of office\n{dsn('failed')}", "bounce"),
    # Reports.
    "delayed": (f"{NULL}{SYSTEM}Auto-Submitted: auto-replied\n{dsn('delayed')}", "report"),
    "delivered": (f"{NULL}{POSTMASTER}{dsn('delivered')}", "report"),
    "relayed": (f"{NULL}{SYSTEM}{dsn('relayed')}", "report"),
    "bare": (
        f"{NULL}{FROM}Content-Type: message/delivery-status\n\nFinal-Recipient: x@b.example\nAction: delayed\n",
        "report",
    ),
    "without recipients, from a person": (f"{FROM}{dsn('')}", "report"),
    "read": (f"{NULL}{FROM}Auto-Submitted: auto-replied\n{mdn('disposition-notification')}", "report"),
    "complaint": (f"{FROM}{mdn('feedback-report')}", "report"),
    "complaint from a postmaster": (f"{POSTMASTER}{mdn('feedback-report')}", "report"),
    "tls": (f"{FROM}{mdn('tlsrpt')}", "report"),
    "cron": (f"{FROM}Auto-Submitted: auto-generated\n", "report"),
    "alert": (f"{FROM}Auto-Submitted: auto-notified; owner-email=jo@a.example\n", "report"),
    "of a kind to come": (f"{FROM}Auto-Submitted: auto-whatever\n", "report"),
    "one of several": (f"{FROM}Auto-Submitted: no\nAuto-Submitted: auto-generated\n", "report"),
    "wants no answers": (f"{FROM}X-Auto-Response-Suppress: DR, OOF, AutoReply\n", "report"),
    "wants nothing": (f"{FROM}X-Auto-Response-Suppress: all\n", "report"),
    "help desk": (
        (
            f"{FROM}In-Reply-To: <1@us.example>\nAuto-Submitted: auto-generated\nX-Auto-Response-Suppress: All\n"
            "Subject: Re: broken\n"
        ),
        "report",
    ),
    "holidays, of a machine": (f"{FROM}Auto-Submitted: auto-generated\nSubject: Vacation request approved\n", "report"),
    # Answers.
    "auto-replied": (f"{FROM}Auto-Submitted: auto-replied\n", "auto-reply"),
    "with parameters and comments": (f"{FROM}AUTO-SUBMITTED: (x) Auto-Replied (y); a=b\n", "auto-reply"),
    "x-autoreply": (f"{FROM}X-Autoreply: yes\n", "auto-reply"),
    "x-autorespond": (f"{FROM}X-Autorespond: Thank you\n", "auto-reply"),
    "precedence": (f"{FROM}Precedence: auto_reply\n", "auto-reply"),
    "precedence with a hyphen": (f"{FROM}Precedence: Auto-Reply (x)\n", "auto-reply"),
    "old vacation": (f"{NULL}{FROM}Precedence: junk\n", "auto-reply"),
    "exchange in another language": (f"{NULL}{FROM}{OOF}Subject: Antwoord fan in masine: x\n", "auto-reply"),
    "confirmation": (f"{FROM}Auto-Submitted: auto-replied\nSubject: Automatic reply: we have it\n", "auto-reply"),
    "through a list": (f"{FROM}Auto-Submitted: auto-replied\nList-Id: <l.a.example>\n", "auto-reply"),
    # Absences.
    "exchange's absence": (f"{NULL}{FROM}{OOF}Subject: Automatic reply: x\n", "out-of-office"),
    "exchange's, german": (f"{FROM}{OOF}Subject: =?utf-8?q?Automatische_Antwort=3A_x?=\n", "out-of-office"),
    "exchange's, french": (f"{FROM}{OOF}Subject: Réponse automatique : x\n", "out-of-office"),
    "older exchange": (f"{FROM}X-Auto-Response-Suppress: All\nSubject: Out of Office: x\n", "out-of-office"),
    "sieve": (f"{NULL}{FROM}Auto-Submitted: auto-replied (vacation)\nSubject: Auto: x\n", "out-of-office"),
    "gmail's absence": (
        f"{FROM}Precedence: bulk\nX-Autoreply: yes\nAuto-Submitted: auto-replied\nSubject: Out of office Re: x\n",
        "out-of-office",
    ),
    "announced by x-autorespond": (f"{FROM}X-Autorespond: Out of Office\n", "out-of-office"),
    "null return path and subject": (f"{NULL}{FROM}Subject: Abwesenheitsnotiz: x\n", "out-of-office"),
    "postmaster's absence": (f"{NULL}{POSTMASTER}Auto-Submitted: auto-replied (vacation)\n", "out-of-office"),
    # Responders with their own fields.
    "communigate": (f"{FROM}X-Autogenerated: Reply\n", "auto-reply"),
    "communigate's redirection": (f"{FROM}X-Autogenerated: Mirror\n", None),
    "mailtraq": (f"{FROM}X-POST-MessageClass: 9; Autoresponder\n", "auto-reply"),
    "mailtraq's other mail": (f"{FROM}X-POST-MessageClass: 1; Message\n", None),
    "boxtrapper": (f"{FROM}X-Precedence: auto_reply\n", "auto-reply"),
    "boxtrapper, misspelt": (f"{FROM}Preference: auto_reply\n", "auto-reply"),
    "firstclass": (f"{FROM}X-FC-MachineGenerated: true\n", "auto-reply"),
    "dtc": (f"{FROM}X-AutoReply-From: jo@a.example\nX-Mail-Autoreply: jo\n", "auto-reply"),
    "x-auto-reply-from": (f"{FROM}X-Auto-Reply-From: jo@a.example\n", "auto-reply"),
    "vacation field": (f"{FROM}X-Vacation: yes\n", "out-of-office"),
    "no vacation": (f"{FROM}X-Vacation: no\n", None),
    "qmail's autoresponder": (f"{FROM}Delivered-To: Autoresponder\n", "auto-reply"),
    "delivered to one of that name": (f"{FROM}Delivered-To: autoresponder@us.example\n", None),
    # Absences announced by subjects.
    "away and junk": (f"{FROM}Precedence: junk\nSubject: away from my mail\n", "out-of-office"),
    "away and bulk": (f"{FROM}Precedence: bulk\nSubject: Out of Office Re: x\n", "out-of-office"),
    "away and bulk, german": (f"{FROM}Precedence: bulk\nSubject: Abwesenheitsnotiz\n", "out-of-office"),
    "newsletter's topic": (f"{FROM}Precedence: bulk\nSubject: Out of office essentials, 20% off\n", "list"),
    "newsletter": (
        f"{FROM}Precedence: bulk\nList-Unsubscribe: <mailto:u@a.example>\nSubject: Out of office: travel\n",
        "list",
    ),
    "list's topic": (f"{FROM}Precedence: list\nSubject: Out of office: how?\n", "list"),
    "domino": (f"{FROM}Subject: AUTO: Jo Roe is out of the office (returning 30.11.2026)\n", "out-of-office"),
    "domino, german": (
        f"{FROM}X-MIMETrack: Serialize by Router on M1/A\nSubject: AUTO: Jo ist nicht da (R\u00fcckkehr 30.11.2026)\n",
        "out-of-office",
    ),
    "domino's user": (f"{FROM}X-MIMETrack: Serialize by Router on M1/A\nSubject: AUTO: Golf (2019)\n", None),
    "reply to domino": (f"{FROM}Subject: Re: AUTO: Jo Roe is out of the office (returning 30.11.2026)\n", None),
    "exchange 2003": (f"{FROM}Subject: Out of Office AutoReply: x\n", "out-of-office"),
    "exchange 2003, italian": (
        f"{FROM}X-MimeOLE: Produced By Microsoft Exchange V6.5\nSubject: Fuori ufficio: x\n",
        "out-of-office",
    ),
    "exchange 2003's user": (
        f"{FROM}X-MimeOLE: Produced By Microsoft Exchange V6.5\nSubject: Out of office: my plans\n",
        None,
    ),
    "exchange's, greek": (
        (
            f"{FROM}Auto-Submitted: auto-generated\nX-Auto-Response-Suppress: All\n"
            "Subject: =?utf-8?b?zpHPhc+Ez4zOvM6xz4TOtyDOsc+AzqzOvc+EzrfPg863OiB4?=\n"
        ),
        "out-of-office",
    ),
    "exchange's, slovenian": (f"{FROM}{OOF}Subject: Samodejni odgovor: x\n", "out-of-office"),
    "exchange's, of a language that is not known": (
        (
            f"{FROM}{OOF}X-MS-Exchange-Generated-Message-Source: Mailbox Rules Agent\nIn-Reply-To: <1@us.example>\n"
            "Subject: Antwoord fan in masine: x\n"
        ),
        "auto-reply",
    ),
    "exchange's rule that forwards": (
        (
            f"{FROM}{OOF}X-MS-Exchange-Generated-Message-Source: Mailbox Rules Agent\nIn-Reply-To: <1@us.example>\n"
            "Subject: WG: x\n"
        ),
        "report",
    ),
    "domino's old agent": (f"{NAMED}{DOMINO}Subject: Jo Roe is out of the office.\n", "out-of-office"),
    "domino's old agent, german": (f"{NAMED}{DOMINO}Subject: Jo Roe/DE/A ist außer Haus.\n", "out-of-office"),
    "another's absence": (f"{NAMED}{DOMINO}Subject: Ann Lee is out of the office.\n", None),
    "a person's absence, domino": (f"{NAMED}{DOMINO}Subject: Jo Roe is out of the office on Friday\n", None),
    "the same without domino": (f"{NAMED}Subject: Jo Roe is out of the office.\n", None),
    "domino, not by its field": (
        f"{FROM}Auto-Submitted: auto-generated\nSubject: AUTO: Jo ist außer Haus (Rückkehr am 30.11.2026)\n",
        "out-of-office",
    ),
    "domino, dates": (f"{FROM}{DOMINO}Subject: AUTO: Jo ist abwesend (vom 1.11. bis 30.11.2026)\n", "out-of-office"),
    "domino, any words": (f"{NAMED}{DOMINO}Subject: AUTO: Jo Roe x y (z 30.11.2026)\n", "out-of-office"),
    "domino, japanese": (
        f"{FROM}{DOMINO}Subject: AUTO: Jo は休み (2026年11月30日 に戻ります)\n",
        "out-of-office",
    ),
    "domino's user, date": (f"{FROM}{DOMINO}Subject: AUTO: Reparatur Golf (vom 23.11.2026)\n", None),
    # Mail of Exchange's system address.
    "journal": (f"{EXCHANGE}X-MS-Journal-Report:\nSubject: x\n", "report"),
    "journal of exchange 2003": (f"{NULL}{POSTMASTER}Content-Identifer: ExJournalReport\nSubject: x\n", "report"),
    "journal of citadel": (f"{NULL}{FROM}Content-Identifier: EXJOURNALREPORT\nSubject: x\n", "report"),
    "other content identifier": (f"{NULL}{FROM}Content-Identifier: 7\nSubject: x\n", "bounce"),
    "journal from another address": (f"{FROM}X-MS-Journal-Report:\nSubject: x\n", "report"),
    "quota": (f"{NULL}{EXCHANGE}Auto-Submitted: auto-generated\nSubject: Your mailbox is almost full\n", "report"),
    "approval": (f"{EXCHANGE}Subject: Approval requested: x\n", "report"),
    "ndr without a report": (f"{EXCHANGE}Subject: Unzustellbar: x\n", "bounce"),
    "ndr by its field": (f"{EXCHANGE}X-MS-Exchange-Message-Is-Ndr:\nSubject: x\n", "bounce"),
    "ndr with a report": (f"{EXCHANGE}{dsn('failed')}", "bounce"),
    # Lists.
    "list": (f"{FROM}List-Id: People <people.a.example>\nPrecedence: list\n", "list"),
    "list-id alone": (f"{FROM}LIST-ID: <people.a.example>\n", "list"),
    "list of a machine": (f"{FROM}List-Id: <l.a.example>\nAuto-Submitted: auto-generated\nPrecedence: bulk\n", "list"),
    "list with a null return path": (f"{NULL}{FROM}List-Id: <l.a.example>\n", "list"),
    "postmaster on a list": (f"{POSTMASTER}List-Id: <l.a.example>\n", "list"),
    "absence as a topic of a list": (f"{FROM}List-Id: <l.a.example>\nSubject: Out of office: how?\n", "list"),
    "bulk": (f"{FROM}Precedence: BULK\n", "list"),
    "junk": (f"{FROM}Precedence: junk (x)\n", "list"),
    "bulk of a machine": (f"{FROM}Precedence: bulk\nAuto-Submitted: auto-generated\n", "list"),
}


@pytest.mark.parametrize(("header", "kind"), REAL.values(), ids=REAL)
def test_5_1_the_kind_of_automatic_mail(header: str, kind: str | None) -> None:
    message = read(header)
    assert message.automatic == kind, message.automatic_evidence
    assert bool(message.automatic_evidence) is (kind is not None)


AUTOMATIC = [
    "Automatic reply: x", "Automatische Antwort: x", "Réponse automatique : x", "Respuesta automática: x",
    "Risposta automatica: x", "Automatisch antwoord: x", "Autosvar: x", "自動返信: x", "Auto-Reply: x",
    "Autoreply: x", "Autoodpowiedź", "Auto Response", "Automatic  reply: x", "Réponse\u00a0automatique\u00a0: x",
    unicodedata.normalize("NFD", "Réponse automatique : x"), "স্বয়ংক্রিয় উত্তর: x",
]  # fmt: skip
ABSENCES = [
    "I am out of the office", "I'm out of the office Re: x", "I\u2019m out of office until Monday", "On vacation",
    "Currently out of office", "I am on vacation", "Away from office", "Abwesenheit: Re: x", "Ich bin im Urlaub",
    "Ich bin nicht im Büro", "Bin im Urlaub bis 30.11.", "Außer Haus: x", "Automatische Antwort: Abwesenheit",
    "Je suis absent jusqu'au 30 novembre", "En congé", "Réponse automatique : absent", "Ausente",
    "Estoy fuera de la oficina", "De vacaciones", "Assente", "Assenza dall'ufficio", "In ferie",
    "Risposta automatica: fuori ufficio", "Ik ben afwezig", "Ej på kontoret", "Jeg er på ferie",
    "Nieobecny w biurze", "Jestem nieobecny", "Ausente do escritório", "Estou de férias",
    "Poissa toimistosta", "Poissaoloviesti", "Jsem mimo kancelář", "Nepřítomnost",
]  # fmt: skip


@pytest.mark.parametrize("subject", AUTOMATIC)
@pytest.mark.parametrize("field", [NULL, "Precedence: bulk\n", "X-Precedence: junk\n"], ids=["null", "bulk", "junk"])
def test_5_1_the_subject_of_an_automatic_reply(field: str, subject: str) -> None:
    assert read(f"{FROM}{field}Subject: {subject}\n").automatic == "auto-reply"
    assert read(f"{FROM}{field}Subject: [EXTERNAL] {subject}\n").automatic == "auto-reply"
    assert read(f"{FROM}Subject: {subject}\n").automatic is None
    for other in (f"Re: {subject}", f"FW: {subject}", f"[Fwd: y] {subject}", f"y {subject}"):
        expected = {NULL: "bounce", "Precedence: bulk\n": "list"}.get(field)
        assert read(f"{FROM}{field}Subject: {other}\n").automatic == expected, other
        assert read(f"{FROM}{field}List-Id: <l.a.example>\nSubject: {subject}\n").automatic == "list"


@pytest.mark.parametrize("subject", ABSENCES)
def test_5_1_the_subject_of_an_absence(subject: str) -> None:
    for field in (NULL, "Precedence: bulk\n", "X-Precedence: junk\n", "Auto-Submitted: auto-replied\n"):
        assert read(f"{FROM}{field}Subject: {subject}\n").automatic == "out-of-office", field
    assert read(f"{FROM}Subject: {subject}\n").automatic is None
    assert read(f"{FROM}Precedence: bulk\nList-Unsubscribe: <u>\nSubject: {subject}\n").automatic == "list"


NOTIFICATIONS = [
    *(
        "Out of office request approved: Max",
        "Frånvaroanmälan för Kalle",
        "Afwezigheidsmelding Kees",
        "On vacation: Max",
    ),
    *("Fravær registreret for Ida", "Abwesenheitsmeldung eingereicht: Max", "Oof! Your build failed"),
    *("OOO Romashka: invoice 7", "Vacation notice period exceeded", "De vacaciones: hoteles"),
]
NEWS = ["Urlaub", "Vacation", "Semester", "Annual leave", "Absence", "De vacaciones con Iberia", "Ausentes: x"]


@pytest.mark.parametrize("subject", NOTIFICATIONS)
def test_5_1_a_notification_about_an_absence(subject: str) -> None:
    assert read(f"{FROM}Auto-Submitted: auto-generated\nSubject: {subject}\n").automatic == "report"


@pytest.mark.parametrize("subject", NEWS)
def test_5_1_a_newsletter_about_absences(subject: str) -> None:
    assert read(f"{FROM}Precedence: bulk\nSubject: {subject}\n").automatic == "list"


@pytest.mark.parametrize(
    "subject",
    [
        *("Out of Office: x", "Out of office - back on Monday", "Out of Office Re: x", "Abwesenheitsnotiz", "OOO: x"),
        *("Out of office 23.11. - 30.11.", "Frånvarande: x", "Afwezig tot 30 november"),
    ],
)
def test_5_1_an_absence_that_says_only_auto_generated(subject: str) -> None:
    assert read(f"{FROM}Auto-Submitted: auto-generated\nSubject: {subject}\n").automatic == "out-of-office"


TAGS = ["[EXTERNAL] ", "[EXT]: ", "[EXTERNAL] [SPAM?] ", "EXTERN: ", "External: ", "*** ", "***SPAM*** ", "{Spam?} "]


@pytest.mark.parametrize("tag", TAGS)
def test_5_1_the_tag_of_a_gateway_is_not_part_of_the_subject(tag: str) -> None:
    for head, subject, kind in (
        (OOF, "Automatic reply: x", "out-of-office"),
        ("", "Out of Office AutoReply: x", "out-of-office"),
        ("", "AUTO: Jo Roe is out of the office (returning 30.11.2026)", "out-of-office"),
        ("Precedence: bulk\n", "Out of Office: x", "out-of-office"),
        (POSTMASTER, "Undeliverable: x", "bounce"),
        ("", "Re: Out of Office AutoReply: x", None),
        ("", "Fwd: Out of Office AutoReply: x", None),
        ("List-Id: <l.a.example>\n", "Out of Office AutoReply: x", "list"),
    ):
        assert read(f"{head or FROM}Subject: {tag}{subject}\n").automatic == kind, subject
    assert read(f"{FROM}Subject: Re: {tag}Out of Office AutoReply: x\n").automatic is None


EVIDENCE: dict[str, tuple[str, list[str]]] = {
    "bounce": (
        f"{NULL}{SYSTEM}Auto-Submitted: auto-replied (x)\n{dsn('failed')}",
        [
            "Content-Type: message/delivery-status",
            "Action: failed",
            "Auto-Submitted: auto-replied (x)",
            "Return-Path: <>",
            "From: mailer-daemon@a.example",
        ],
    ),
    "without a report": ("X-FAILED-recipients: x@b.example\n", ["X-Failed-Recipients: x@b.example"]),
    "absence": (
        f"{OOF}Subject: =?utf-8?q?Automatic_reply=3A_caf=C3=A9?=\n",
        ["Auto-Submitted: auto-generated", "X-Auto-Response-Suppress: All", "Subject: Automatic reply: café"],
    ),
    "list": (
        "Precedence: list\nList-Id: =?utf-8?q?Caf=C3=A9?=\n <l.a.example>\n",
        ["Precedence: list", "List-Id: Café <l.a.example>"],
    ),
    "once": ("Precedence: bulk, junk\nPrecedence: bulk, junk\n", ["Precedence: bulk, junk"]),
    "several": ("Precedence: bulk\nPrecedence: no\nPrecedence: junk\n", ["Precedence: bulk", "Precedence: junk"]),
    "none": (FROM, []),
}  # fmt: skip


@pytest.mark.parametrize(("header", "evidence"), EVIDENCE.values(), ids=EVIDENCE)
def test_5_1_the_evidence_names_field_and_value(header: str, evidence: list[str]) -> None:
    assert list(read(header).automatic_evidence) == evidence


def test_5_1_evidence_is_limited() -> None:
    message = read("".join(f"Auto-Submitted: x{number}{'y' * 500}\n" for number in range(100)))
    assert len(message.automatic_evidence) == MAX_EVIDENCE
    assert {len(evidence) for evidence in message.automatic_evidence} == {MAX_EVIDENCE_LENGTH}


def test_5_1_the_kind_is_stored_with_the_message() -> None:
    stored = message_fields(read("Precedence: bulk\n"))
    assert json.loads(json.dumps(stored)) == stored
    assert stored["automatic"] == {"kind": "list", "evidence": ["Precedence: bulk"]}
    assert message_fields(read(FROM))["automatic"] is None


FIELDS = [
    "Auto-Submitted", "X-Autoreply", "X-Autorespond", "X-Auto-Response-Suppress", "Precedence", "List-Id",
    "Return-Path", "X-Failed-Recipients", "From", "Sender", "Subject",
]  # fmt: skip
ENDLESS = {
    "marks": b"auto-replied ", "comments": b"(vacation) ", "open comments": b"(", "quotes": b'"\\', "angles": b"<>",
    "precedences": b"bulk auto_reply ", "postmasters": b"postmaster@a.example, ", "names": b"mailer-daemon <",
    "words": b"=?utf-8?q?out_of_office?= ", "absences": b"out of the ",
    "tags": b"[EXTERNAL] *** ", "stars": b"*", "domino": b"AUTO: x (retour 1.1.", "named": b"a, b (c@d.example), ",
    "quoted": b'"Jo <jo@a.example>" <> ', "literals": b"Jo [jo@a.example] ", "answers": b"auto reply: ",
}  # fmt: skip


@pytest.mark.parametrize("pattern", ENDLESS.values(), ids=ENDLESS)
def test_7_6_no_mark_takes_long(pattern: bytes) -> None:
    size = 300_000 // len(FIELDS)
    data = b"".join(name.encode() + b": " + pattern * (size // len(pattern)) + b"\n" for name in FIELDS) + b"\n"
    within(GUARD, lambda: read_message(Buffer(data)))


def test_7_6_many_marks_do_not_take_long() -> None:
    data = b"".join(name.encode() + b": <> mailer-daemon, oof bulk, postmaster\n" for name in FIELDS) * 1000 + b"\n"
    assert within(GUARD, lambda: read_message(Buffer(data))).automatic == "bounce"


VALUES = st.text(max_size=30) | st.lists(
    st.sampled_from(
        ["no", "auto-replied", "auto-generated", "(", ")", "bulk", "<>", "<", "all", "postmaster@a", "é", ";"]
    )
).map(" ".join)


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from([*FIELDS, "X"]), VALUES), max_size=8))
def test_7_6_any_header_has_a_kind_or_none(fields: list[tuple[str, str]]) -> None:
    header = "".join(f"{name}: {' '.join(value.split())}\n" for name, value in fields)
    message = read_message(Buffer(f"{header}\nx".encode()))
    assert (message.automatic is None) is (not message.automatic_evidence)
    json.dumps(message_fields(message), ensure_ascii=False).encode()
