"""`mailroom explain`: what would become of a message, without storing anything."""

from __future__ import annotations

from pathlib import Path

from tests.end_to_end.command import mailroom, opened, settings_file

ROUTES = {
    "MAILBOXES__support__PROTOCOL": "imap",
    "MAILBOXES__support__HOST": "imap.example.com",
    "MAILBOXES__support__ADDRESS": "support@example.com",
    "MAILBOXES__support__PASSWORD": "never-told",
    "MAILBOXES__support__FALLBACK": "rest",
    "ROUTES__rest__MAILBOX": "support",
    "ROUTES__sales__ADDRESS": "sales@example.com",
    "ROUTES__invoices__ADDRESS": "billing@example.com",
    "ROUTES__invoices__ATTACHMENT_TYPES": "pdf",
}
MAIL = (
    b"Delivered-To: support@example.com\r\nReceived: from a by b; Tue, 24 Nov 2026 09:00:00 +0000\r\n"
    b"From: ann@customer.example\r\nTo: sales+offer7@example.com, billing@example.com, nobody@example.com\r\n"
    b"Subject: =?utf-8?q?St=C3=BChle?=\r\nDate: Tue, 24 Nov 2026 09:00:00 +0000\r\n"
    b"Auto-Submitted: auto-replied\r\n\r\nx\r\n"
)


def test_explain_tells_recipients_routes_and_why_and_stores_nothing(tmp_path: Path) -> None:
    storage = f"folder:{tmp_path / 'mail'}"
    settings = settings_file(tmp_path, storage, ROUTES)
    file = tmp_path / "one.eml"
    file.write_bytes(MAIL)
    ran = mailroom("explain", str(file), settings=settings)
    assert ran.returncode == 0, ran.stderr
    told = ran.stdout
    assert "sales+offer7@example.com: route sales takes it by to, reference offer7" in told
    assert "billing@example.com: route invoices: ATTACHMENT_TYPES does not hold" in told
    assert "nobody@example.com: no route has this address" in told
    assert "automatic: auto-reply" in told
    assert "support@example.com (delivered-to)" in told
    assert "stored as routed/sales/" in told
    assert "St\u00fchle" in told
    assert "never-told" not in told + ran.stderr
    stores = opened(storage)
    assert list(stores.blobs.list()) == []
    stores.close()


def test_explain_says_what_is_wrong_with_the_file(tmp_path: Path) -> None:
    settings = settings_file(tmp_path, f"folder:{tmp_path / 'mail'}", ROUTES)
    ran = mailroom("explain", str(tmp_path / "none.eml"), settings=settings)
    assert ran.returncode == 2
    assert "none.eml cannot be read" in ran.stderr
    file = tmp_path / "one.eml"
    file.write_bytes(MAIL)
    assert mailroom("explain", str(file), "--mailbox", "Nowhere", settings=settings).returncode == 2


TO_ALIAS = (
    b"X-Original-To: sales+REF7@example.com\r\nDelivered-To: support@example.com\r\n"
    b"Received: from a by b; Tue, 24 Nov 2026 09:00:00 +0000\r\n"
    b"From: ann@customer.example\r\nTo: Support <support@example.com>\r\nSubject: x\r\n\r\nx\r\n"
)


def test_explain_says_why_an_alias_has_the_message(tmp_path: Path) -> None:
    file = tmp_path / "one.eml"
    file.write_bytes(TO_ALIAS)
    settings = settings_file(tmp_path, f"folder:{tmp_path / 'mail'}", ROUTES)
    ran = mailroom("explain", str(file), settings=settings)
    assert ran.returncode == 0, ran.stderr
    assert (
        "sales+ref7@example.com: route sales takes it by x-original-to, "
        "in place of the primary address support@example.com, reference REF7"
    ) in ran.stdout
    assert "sales+ref7@example.com (x-original-to), support@example.com (delivered-to)" in ran.stdout
    assert "route rest" not in ran.stdout
    other = ROUTES | {"MAILBOXES__support__ALIASES": "billing@example.com"}
    ran = mailroom("explain", str(file), settings=settings_file(tmp_path, f"folder:{tmp_path / 'mail'}", other))
    assert "support@example.com: route rest takes it by fallback" in ran.stdout
