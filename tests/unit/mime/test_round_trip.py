"""Messages that the standard library builds are read back."""

import datetime as dt
import json
from email import message_from_bytes, policy
from email.message import EmailMessage

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from shared.documents.message_document import message_fields
from shared.mime.parser import parse

# Text that the standard library writes unchanged: without controls and white space that folding may change.
LETTERS = st.characters(codec="utf-8", exclude_categories=("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"))
WORD = st.text(LETTERS, min_size=1, max_size=12).filter(lambda word: "=?" not in word)
WORDS = st.lists(WORD, min_size=1, max_size=6).map(" ".join)
LINES = st.lists(WORDS, min_size=1, max_size=5).map(lambda lines: "".join(f"{line}\n" for line in lines))
NAMES = st.from_regex(r"[a-zA-Zäöü日本0-9 ]{1,30}\.[a-z]{3}", fullmatch=True).filter(lambda n: n == " ".join(n.split()))
LOCALS = st.from_regex(r"[a-z0-9]{1,10}(\.[a-z0-9]{1,10})?", fullmatch=True)
ATTACHMENTS = st.lists(st.tuples(NAMES, st.binary(max_size=300)), max_size=3)


@settings(deadline=None)
@given(
    subject=WORDS,
    to=st.lists(LOCALS, min_size=1, max_size=4),
    text=LINES,
    html=st.none() | LINES,
    attachments=ATTACHMENTS,
    crlf=st.booleans(),
)
def test_7_3_a_built_message_is_read_back(
    *, subject: str, to: list[str], text: str, html: str | None, attachments: list[tuple[str, bytes]], crlf: bool
) -> None:
    mail = EmailMessage(policy=policy.SMTP if crlf else policy.default)
    mail["Subject"] = subject
    mail["From"] = "Sender <s@example.com>"
    mail["To"] = ", ".join(f"{local}@example.com" for local in to)
    mail["Date"] = dt.datetime(2026, 11, 23, 10, tzinfo=dt.UTC)
    mail["Message-ID"] = "<1@example.com>"
    mail.set_content(text)
    if html is not None:
        mail.add_alternative(html, subtype="html")
    for name, data in attachments:
        mail.add_attachment(data, maintype="application", subtype="x-test", filename=name)

    data = mail.as_bytes()
    # Some versions write a space twice at a fold, and also read two.
    assume(message_from_bytes(data, policy=policy.default)["subject"] == subject)
    message = parse(data)

    assert message.defects == ()
    assert message.subject == subject
    assert [address.address for address in message.to] == [f"{local}@example.com" for local in to]
    assert [(author.name, author.address) for author in message.from_] == [("Sender", "s@example.com")]
    assert message.text == text
    assert message.html == html
    assert [(a.name, b"".join(a.chunks())) for a in message.attachments] == attachments
    assert message.sent == dt.datetime(2026, 11, 23, 10, tzinfo=dt.UTC)
    assert message.message_id == "1@example.com"


def test_7_3_as_json() -> None:
    message = parse(
        b"From: A <a@b.example>\nTo: c@d.example, foo\nDate: Mon, 23 Nov 2026 10:00:00 +0100\nMessage-ID: <1@b>\n"
        b"In-Reply-To: <0@b>\nReferences: <0@b>\nSubject: s\nX-Priority: 1\nAuthentication-Results: mx; spf=pass\n"
        b"Content-Type: multipart/mixed; boundary=b\n\n--b\n\ntext\n--b\n"
        b"Content-Type: a/b\nContent-Disposition: attachment; filename=../x.bin\n\nx\n--b--\n"
    )
    stored = dict(message_fields(message))
    assert json.loads(json.dumps(stored)) == stored
    assert stored.pop("headers") == [{"name": name, "value": value} for name, value in message.headers]
    assert stored == {
        "size": message.size,
        "sent": "2026-11-23T09:00:00Z",
        "message_id": "1@b",
        "from": [{"name": "A", "address": "a@b.example"}],
        "sender": [],
        "reply_to": [],
        "to": [{"name": "", "address": "c@d.example"}],
        "cc": [],
        "bcc": [],
        "subject": "s",
        "text": "text",
        "html": None,
        "attachments": [
            {
                "number": 1,
                "name": "../x.bin",
                "safe_name": "x.bin",
                "content_type": "a/b",
                "size": 1,
                "sha256": "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881",
                "disposition": "attachment",
                "content_id": None,
            }
        ],
        "importance": "high",
        "automatic": None,
        "report": None,
        "thread": {"in_reply_to": ["0@b"], "references": ["0@b"]},
        "authentication_results": ["mx; spf=pass"],
        "invalid_addresses": ["foo"],
        "defects": ["To contains invalid addresses"],
    }
