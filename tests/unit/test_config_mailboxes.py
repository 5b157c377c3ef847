"""One mailbox: server, TLS, folders, and what happens to its mail."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme

from shared.config import After, MailboxSettings, MailProtocol, PlusAddressing, Tls
from shared.config.parsers import NO_DELIVERY_FIELDS
from shared.mime.delivery_headers import NEVER_DELIVERY
from tests.unit.test_config import SALES, mailbox, read, route, support_errors


def support(**settings: str) -> MailboxSettings:
    result = read(mailbox("support", **settings), SALES)
    assert result.mailbox_errors == {}
    return result.mailboxes["support"]


@pytest.mark.parametrize(
    ("preset", "protocol", "host", "port"),
    [
        ("gmail-imap", "imap", "imap.gmail.com", 993),
        ("gmail-pop3", "pop3", "pop.gmail.com", 995),
        ("office365-imap", "imap", "outlook.office365.com", 993),
        ("Office365-POP3", "pop3", "outlook.office365.com", 995),
    ],
)
def test_1_1_presets_fill_in_the_server(preset: str, protocol: str, host: str, port: int) -> None:
    result = support(PRESET=preset, PROTOCOL="", HOST="")
    assert (result.protocol, result.host, result.port, result.tls) == (protocol, host, port, Tls.IMPLICIT)


def test_1_1_a_setting_overrides_the_preset() -> None:
    result = support(PRESET="gmail-imap", PROTOCOL="", HOST="mail.example.com", TLS="starttls")
    assert (result.host, result.port, result.tls) == ("mail.example.com", 143, Tls.STARTTLS)
    assert support(PRESET="gmail-imap", PORT="1993").port == 1993


def test_1_1_a_preset_for_another_protocol_is_a_contradiction() -> None:
    (error,) = support_errors(PRESET="gmail-imap", PROTOCOL="pop3")
    assert error == "MAILBOXES__support__PROTOCOL: contradicts PRESET, which is for imap; remove one of the two"


@pytest.mark.parametrize(
    ("protocol", "tls", "port"),
    [
        ("imap", "", 993),
        ("imap", "implicit", 993),
        ("imap", "starttls", 143),
        ("pop3", "", 995),
        ("pop3", "starttls", 110),
        ("POP3", "STARTTLS", 110),
    ],
)
def test_1_1_default_ports(protocol: str, tls: str, port: int) -> None:
    assert support(PROTOCOL=protocol, TLS=tls).port == port


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1", "127.8.9.1", "::1", "[::1]"])
@pytest.mark.parametrize(("protocol", "port"), [("imap", 143), ("pop3", 110)])
def test_1_2_plaintext_is_allowed_for_loopback(host: str, protocol: str, port: int) -> None:
    assert support(HOST=host, PROTOCOL=protocol, TLS="none").port == port


@pytest.mark.parametrize("host", ["imap.example.com", "localhost.example.com", "10.0.0.1", "128.0.0.1", "0.0.0.0"])
def test_1_2_plaintext_elsewhere_must_be_allowed_explicitly(host: str) -> None:
    (error,) = support_errors(HOST=host, TLS="none")
    assert error.startswith("MAILBOXES__support__TLS: none sends password and mail in the clear")
    assert "ALLOW_PLAINTEXT=true" in error
    assert support_errors(HOST=host, TLS="none", ALLOW_PLAINTEXT="false") == (error,)
    assert support(HOST=host, TLS="none", ALLOW_PLAINTEXT="true").tls is Tls.NONE


def test_1_2_a_private_ca_is_a_pem_file(tmp_path: Path) -> None:
    pem = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(pem))
    assert support(CA_FILE=str(pem)).ca_file == pem


def test_1_2_a_ca_file_must_exist_and_hold_a_certificate(tmp_path: Path) -> None:
    text = tmp_path / "ca.txt"
    text.write_text("no certificate")
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    for path, trouble in ((tmp_path / "none.pem", "does not exist"), (tmp_path, "does not exist")):
        (error,) = support_errors(CA_FILE=str(path))
        assert error.startswith("MAILBOXES__support__CA_FILE: names a file")
        assert trouble in error
    for path in (text, empty):
        (error,) = support_errors(CA_FILE=str(path))
        assert "without a certificate in PEM" in error


@pytest.mark.parametrize("missing", ["PROTOCOL", "HOST", "ADDRESS"])
def test_a_mailbox_requires_settings(missing: str) -> None:
    (error,) = support_errors(**{missing: ""})
    assert error.startswith(f"MAILBOXES__support__{missing}: is not set; ")


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("PROTOCOL", "imaps", "imaps is not known; use imap, pop3 or graph"),
        ("PROTOCOL", "smtp-or-what", "the value is not known; use imap, pop3 or graph"),
        ("PRESET", "gmail", "use gmail-imap, gmail-pop3, office365-imap, office365-pop3 or office365-graph"),
        ("TLS", "ssl", "use implicit, starttls or none"),
        ("PORT", "0", "0 is not a port; use 1 to 65535"),
        ("PORT", "65536", "65536 is not a port; use 1 to 65535"),
        ("PORT", "99_3", "the value is not a whole number; use 1 to 65535"),
        ("HOST", "imaps://imap.example.com", "write the name alone"),
        ("HOST", "imap.example.com:993", "write the name alone"),
        ("HOST", "imap example.com", "write the name alone"),
        ("HOST", ".", "write the name alone"),
        ("ADDRESS", "support", "support is not an address; write name@example.com"),
        ("ADDRESS", "a@-b", "a@-b does not have a valid domain"),
        ("ADDRESS", "*@example.com", "is not an address"),
        ("ALLOW_PLAINTEXT", "maybe", "use true or false"),
        ("ENABLED", "2", "use true or false"),
        ("FOLDERS", "A; B;A", "A is named twice"),
        ("FOLDERS", "inbox;INBOX", "INBOX is named twice"),
        ("FOLDERS", "a\tb", "cannot be printed"),
        ("AFTER", "move", "write move:Archive"),
        ("AFTER", "move: ", "write move:Archive"),
        ("AFTER", "archive", "use delete, trash, keep, or move:"),
        ("AFTER", "delete:x", "use delete, trash, keep, or move:"),
        ("AFTER", "trash:x", "use delete, trash, keep, or move:"),
        ("AFTER", "delete-permanently:x", "use delete, trash, keep, or move:"),
        ("AFTER", " Delete-Permanently ", "delete-permanently was replaced by delete, which deletes permanently"),
        ("AFTER", "delete-permanently", "use delete"),
        ("SINCE", "yesterday", "write 2026-11-23"),
        ("SINCE", "2026-02-30", "write 2026-11-23"),
        ("SINCE", "0001-01-01T00:00+14:00", "write 2026-11-23"),
        ("POLL_EVERY", "0", "0 is not in range; use 1 to 86400"),
        ("POLL_EVERY", "5m", "the value is not a whole number"),
        ("MAX_MESSAGE_BYTES", "lots", "such as 150MB"),
        ("MAX_MESSAGE_BYTES", "0", "such as 150MB"),
        ("MAX_MESSAGE_BYTES", "1.5MB", "such as 150MB"),
        ("DISABLE_AFTER", "0", "0 is not in range"),
        ("PLUS_ADDRESSING", "on", "use mixed, off or only"),
        ("ALIASES", "sales@example.com;sales", "sales is not an address"),
        ("ALIASES", "*@example.com", "*@example.com is not an address"),
        ("DELIVERY_FIELDS", "X-Alias:", "X-Alias: is not a header's name; write the name alone"),
        ("DELIVERY_FIELDS", "X Alias", "X Alias is not a header's name"),
        ("DELIVERY_FIELDS", "X-Alias;!", "! is not a header's name"),
        ("DELIVERY_FIELDS", "X-\u00c4lias", "is not a header's name"),
        ("DELIVERY_FIELDS", "x" * 77, "is not a header's name"),
        ("DELIVERY_FIELDS", "X-Alias;To!", "To! is a header that the sender writes"),
        ("DELIVERY_FIELDS", "Subject", "Subject is a header that the sender writes"),
        ("DELIVERY_FIELDS", "Received", "Received is read without this setting; see TRUSTED_HOPS"),
        ("DELIVERY_FIELDS", "Fallback", "Fallback has another meaning in results"),
        ("DELIVERY_FIELDS", "X-Alias;x-alias!", "x-alias is named with ! and without"),
        ("BLOCKED_SENDERS", "a@example.com;*", "* is not allowed alone"),
        ("BLOCKED_SENDERS", "example.com", "example.com is not an address"),
    ],
)
def test_an_invalid_value_is_reported_with_a_fix(setting: str, value: str, words: str) -> None:
    result = support_errors(**{setting: value})
    assert len(result) == 1
    assert result[0].startswith(f"MAILBOXES__support__{setting}: ")
    assert words in result[0]


def test_an_invalid_value_is_reported_once_and_not_as_missing() -> None:
    assert len(support_errors(HOST="a b", PROTOCOL="x", ADDRESS="y", PORT="z")) == 4
    assert len(support_errors(PRESET="hotmail", HOST="", PROTOCOL="")) == 1
    assert len(support_errors(SIGN_IN="oauth")) == 1


def test_the_defaults() -> None:
    result = support()
    assert result == MailboxSettings(
        name="support",
        protocol=MailProtocol.IMAP,
        address="support@example.com",
        host="imap.example.com",
        port=993,
        password=result.password,
    )
    assert result.enabled
    assert result.folders == ("INBOX",)
    assert (result.after, result.move_to, result.since, result.fallback) == (After.DELETE, None, None, None)
    assert (result.poll_every, result.disable_after) == (60, 10)
    assert result.max_message_bytes == 150 * 1024 * 1024
    assert result.plus_addressing is PlusAddressing.MIXED
    assert result.blocked_senders == ()


def test_every_other_setting() -> None:
    result = support(
        ADDRESS=" Support@EXÄMPLE.com ",
        ENABLED="No",
        FOLDERS=" inbox ; Sub/Folder;;sub/folder ",
        AFTER="Move: Archive/2026 ",
        POLL_EVERY="300",
        DISABLE_AFTER="3",
        PLUS_ADDRESSING="Only",
        BLOCKED_SENDERS="Spam@Example.org; *@BÜCHER.example",
    )
    assert not result.enabled
    assert result.address == result.mailbox_address == "support@xn--exmple-cua.com"
    assert result.folders == ("INBOX", "Sub/Folder", "sub/folder")
    assert (result.after, result.move_to) == (After.MOVE, "Archive/2026")
    assert (result.poll_every, result.disable_after) == (300, 3)
    assert result.plus_addressing is PlusAddressing.ONLY
    assert result.blocked_senders == ("spam@example.org", "*@xn--bcher-kva.example")


def test_1_3_pop3_has_delete_and_keep() -> None:
    assert support(PROTOCOL="pop3", AFTER="keep").after is After.KEEP
    (error,) = support_errors(PROTOCOL="pop3", AFTER="move:Archive")
    assert error == "MAILBOXES__support__AFTER: POP3 has no folders to move to; use delete or keep"
    (error,) = support_errors(PROTOCOL="pop3", AFTER="trash")
    assert error.startswith("MAILBOXES__support__AFTER: trash needs a folder for deleted items, and POP3 has none; ")
    assert error.endswith("use delete or keep")


def test_1_3_imap_has_trash() -> None:
    result = support(AFTER="trash")
    assert (result.after, result.move_to) == (After.TRASH, None)


def test_1_6_pop3_has_the_inbox_alone() -> None:
    assert support(PROTOCOL="pop3", FOLDERS="Inbox").folders == ("INBOX",)
    (error,) = support_errors(PROTOCOL="pop3", FOLDERS="INBOX;Archive")
    assert "POP3 has INBOX alone" in error


@pytest.mark.parametrize(
    ("folders", "target"), [("", "INBOX"), ("", "inbox"), ("A;B", "B"), ("Inbox;A", "iNBOX"), ("A", "A")]
)
def test_1_3_a_move_target_among_the_polled_folders_is_refused(folders: str, target: str) -> None:
    (error,) = support_errors(FOLDERS=folders, AFTER=f"move:{target}")
    assert error.startswith("MAILBOXES__support__AFTER: ")
    assert "is a folder that is polled" in error


def test_1_3_folders_other_than_inbox_differ_by_case() -> None:
    assert support(FOLDERS="Archive", AFTER="move:archive").move_to == "archive"


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1", 1),
        ("150MB", 150 * 1024**2),
        ("150 mb", 150 * 1024**2),
        ("10k", 10 * 1024),
        ("10KiB", 10 * 1024),
        ("2GB", 2 * 1024**3),
        ("512B", 512),
    ],
)
def test_1_7_sizes(text: str, size: int) -> None:
    assert support(MAX_MESSAGE_BYTES=text).max_message_bytes == size


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-23", datetime(2026, 11, 23, tzinfo=UTC)),
        ("2026-11-23T08:30:00", datetime(2026, 11, 23, 8, 30, tzinfo=UTC)),
        ("2026-11-23T08:30:00Z", datetime(2026, 11, 23, 8, 30, tzinfo=UTC)),
        ("2026-11-23 08:30+02:00", datetime(2026, 11, 23, 6, 30, tzinfo=UTC)),
    ],
)
def test_1_11_since_is_utc(text: str, moment: datetime) -> None:
    result = support(SINCE=text).since
    assert result == moment
    assert isinstance(result, datetime)
    assert result.tzinfo is UTC


def test_1_11_since_now() -> None:
    assert support(SINCE="Now").since == "now"


def test_a_fallback_must_be_an_enabled_route_of_the_mailbox_or_of_all() -> None:
    own, everybodys = route("own", MAILBOX="support"), route("rest", ORDER="1")
    others, off = route("others", MAILBOX="other", ADDRESS="o@example.com"), route("off", ENABLED="false")
    for name, routes in (("own", own), ("rest", everybodys), ("REST", everybodys)):
        assert read(mailbox("support", FALLBACK=name), routes).mailboxes["support"].fallback == name.lower()
    for name, words in (
        ("owm", "owm names a route that does not exist; did you mean own?"),
        ("nothing_like_it", "names a route that does not exist; define it"),
        ("others", "others is another mailbox's route; name a route of support or of every mailbox"),
        ("off", "off is a disabled route"),
    ):
        result = read(
            mailbox("support", FALLBACK=name),
            mailbox("other"),
            route("own", MAILBOX="support", ADDRESS="*@x.org"),
            others,
            off,
        )
        assert list(result.mailboxes) == ["other", "support"]
        (error,) = result.route_errors["support"]
        assert error.startswith("MAILBOXES__support__FALLBACK: ")
        assert words in error


def test_3_9_aliases_are_normalised() -> None:
    result = support(ALIASES=" Sales@EX\u00c4MPLE.com ;sales@xn--exmple-cua.com; billing+x@example.com ")
    assert result.aliases == ("sales@xn--exmple-cua.com", "billing+x@example.com")
    assert support().aliases == ()


def test_2_2_delivery_fields_are_names_with_and_without_an_exclamation_mark() -> None:
    result = support(DELIVERY_FIELDS="X-Alias!; Resent-From ;X-Gm-Original-To;resent-from;Delivered-To")
    assert result.delivery_fields == (
        ("x-alias", True),
        ("resent-from", False),
        ("x-gm-original-to", False),
        ("delivered-to", False),
    )


def test_2_2_headers_that_the_parser_drops_are_refused() -> None:
    """The parser drops only headers that no setting can name."""
    assert NEVER_DELIVERY < NO_DELIVERY_FIELDS
