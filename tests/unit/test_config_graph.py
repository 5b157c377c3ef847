"""Mailboxes that are collected through Microsoft Graph, and what its notifications need."""

from __future__ import annotations

import traceback

import pytest

from shared.config import After, AppSettings, MailboxSettings, MailProtocol, SignIn, Tls
from shared.errors import ConfigurationError
from tests.unit.test_config import SALES, faults, mailbox, read

OAUTH = {"TENANT_ID": "example.onmicrosoft.com", "CLIENT_ID": "0f8fad5b-d9cb-469f-a165-70867728950e"}
SECRET = {**OAUTH, "CLIENT_SECRET": "hush-secret"}
IDENTITY = {"SIGN_IN": "managed-identity"}
BARE = {"PROTOCOL": "graph", "HOST": "", "PASSWORD": ""}
GRAPH = {**BARE, **SECRET}
ONE, TWO, THREE = (letter * 31 + "!" for letter in "abc")
HOOK = "https://mail.example.net/api/graph_webhook"


def support(**values: str) -> MailboxSettings:
    """The mailbox; what is upper case and begins with GRAPH_ is the app's."""
    found = whole(**values)
    assert found.mailbox_errors == {}
    return found.mailboxes["support"]


def whole(**values: str) -> AppSettings:
    own, apps = ({k: v for k, v in values.items() if k.startswith("GRAPH_") is app} for app in (False, True))
    return read(mailbox("support", **own), SALES, apps)


def support_faults(**values: str) -> list[str]:
    found = whole(**values)
    assert "support" not in found.mailboxes
    return sorted(fault.removeprefix("MAILBOXES__support__") for fault in found.mailbox_errors["support"])


@pytest.mark.parametrize("how", [{}, {"PROTOCOL": "", "PRESET": "office365-graph"}, {"PRESET": "Office365-Graph"}])
def test_1_1_a_graph_mailbox_needs_no_server(how: dict[str, str]) -> None:
    found = support(**GRAPH | how)
    assert (found.protocol, found.host, found.port) == (MailProtocol.GRAPH, "graph.microsoft.com", 443)
    assert (found.tls, found.sign_in, found.folders) == (Tls.IMPLICIT, SignIn.CLIENT_SECRET, ("INBOX",))


def test_1_1_the_preset_is_for_graph_alone() -> None:
    assert support_faults(**GRAPH | {"PRESET": "office365-graph", "PROTOCOL": "imap"})[-1].startswith(
        "PROTOCOL: contradicts PRESET, which is for graph"
    )
    assert any("contradicts PRESET" in one for one in support_faults(**GRAPH | {"PRESET": "office365-imap"}))


@pytest.mark.parametrize("name", ["ADDRESS", "TENANT_ID", "CLIENT_ID"])
def test_1_4_what_a_graph_mailbox_cannot_be_without(name: str) -> None:
    [fault] = support_faults(**GRAPH | {name: ""})
    assert fault.startswith(f"{name}: is not set; ")


def test_1_4_a_graph_mailbox_without_any_sign_in_is_told_of_oauth_and_not_of_a_password() -> None:
    [fault] = support_faults(**BARE)
    assert fault.startswith("CLIENT_SECRET: is not set; set TENANT_ID, CLIENT_ID and CLIENT_SECRET or CERTIFICATE, or ")
    assert "SIGN_IN=managed-identity" in fault
    [fault] = support_faults(**BARE, **OAUTH)
    assert fault.startswith("SIGN_IN: cannot be determined; set CLIENT_SECRET")


@pytest.mark.parametrize(
    ("values", "name", "words"),
    [
        ({"HOST": "outlook.office365.com"}, "HOST", "is not used with graph; set GRAPH_ENDPOINT"),
        ({"PORT": "443"}, "PORT", "is not used with graph; put it into GRAPH_ENDPOINT"),
        ({"TLS": "implicit"}, "TLS", "is not used with graph; Graph is HTTPS alone, remove it"),
        ({"TLS": "none"}, "TLS", "is not used with graph"),
        ({"ALLOW_PLAINTEXT": "true"}, "ALLOW_PLAINTEXT", "is not used with graph"),
        ({"USERNAME": "sup"}, "USERNAME", "is not used when signing in with a client secret"),
        ({"PASSWORD": "pw"}, "SIGN_IN", "cannot be determined, since PASSWORD and CLIENT_SECRET are set"),
        (
            {"PASSWORD": "pw", "SIGN_IN": "client-secret"},
            "PASSWORD",
            "is not used when signing in with a client secret",
        ),
        ({"SIGN_IN": "password"}, "SIGN_IN", "cannot be used with graph, which accepts no password"),
        ({"PASSWORD": "pw", "CLIENT_SECRET": ""}, "PASSWORD", "cannot be used with graph, which accepts no password"),
        ({"SHARED_LOGIN": "{shared}", "SHARED_MAILBOX": "t@example.com"}, "SHARED_LOGIN", "is not used with OAuth"),
        ({"SHARED_LOGIN": "{shared}"}, "SHARED_LOGIN", "is not used without SHARED_MAILBOX"),
        ({"SHARED_MAILBOX": "team"}, "SHARED_MAILBOX", "OAuth needs the shared mailbox's address"),
        ({"AFTER": "move:INBOX"}, "AFTER", "is a folder that is polled"),
    ],
)
def test_what_a_graph_mailbox_does_not_take(values: dict[str, str], name: str, words: str) -> None:
    found = support_faults(**GRAPH | values)
    assert any(fault.startswith(f"{name}: ") and words in fault for fault in found), found
    assert not any("pw" in fault for fault in found)


def test_1_5_a_shared_mailbox_is_opened_by_its_address() -> None:
    found = support(**GRAPH, SHARED_MAILBOX="Team@Example.com")
    assert (found.mailbox_address, found.address) == ("team@example.com", "support@example.com")


def test_1_6_folders_are_paths_in_their_order() -> None:
    assert support(**GRAPH, FOLDERS="inbox; INBOX/Orders ;Büro/2026").folders == ("INBOX", "INBOX/Orders", "Büro/2026")


@pytest.mark.parametrize(
    ("folders", "target"),
    [("Archive", "archive"), ("INBOX;INBOX/Orders", "inbox/orders"), ("Büro/2026", "BÜRO / 2026/"), ("", "Inbox")],
)
def test_1_3_exchange_compares_a_move_target_without_case(folders: str, target: str) -> None:
    [fault] = support_faults(**GRAPH, FOLDERS=folders, AFTER=f"move:{target}")
    assert fault.startswith("AFTER: ")
    assert "is a folder that is polled" in fault
    assert support(**GRAPH, FOLDERS=folders, AFTER="move:INBOX/Done").move_to == "INBOX/Done"


@pytest.mark.parametrize("host", ["graph.microsoft.com", "graph.microsoft.us", "microsoftgraph.chinacloudapi.cn"])
@pytest.mark.parametrize("after", [After.DELETE, After.TRASH, After.KEEP])
def test_1_3_every_cloud_takes_every_value(host: str, after: After) -> None:
    found = support(**GRAPH, AFTER=f" {after.value.title()} ", GRAPH_ENDPOINT=f"https://{host}/v1.0")
    assert (found.after, found.move_to, found.host) == (after, None, host)


@pytest.mark.parametrize("folders", ["deletedItems", "INBOX;Deleted Items", "deleted items"])
def test_1_3_trash_is_not_collected(folders: str) -> None:
    [fault] = support_faults(**GRAPH, FOLDERS=folders, AFTER="trash")
    assert fault.startswith("AFTER: trash moves mail to ")
    assert "which FOLDERS polls; use delete, or move:FOLDER" in fault
    for after in ("delete", "keep", "move:Done"):
        assert support(**GRAPH, FOLDERS=folders, AFTER=after).folders == tuple(folders.split(";"))
    assert support(**GRAPH, FOLDERS="INBOX;Deleted Items/Old", AFTER="trash").after is After.TRASH


@pytest.mark.parametrize("server", [BARE, {"PASSWORD": "", "HOST": "outlook.office365.com"}], ids=["graph", "imap"])
def test_1_4_a_managed_identity_needs_no_secret(server: dict[str, str]) -> None:
    found = support(**server, **IDENTITY)
    assert (found.sign_in, found.client_id, found.tenant_id) == (SignIn.MANAGED_IDENTITY, None, None)
    assert support(**server, **IDENTITY, CLIENT_ID=OAUTH["CLIENT_ID"]).client_id == OAUTH["CLIENT_ID"]
    for name, value in {"TENANT_ID": "t", "CLIENT_SECRET": "s", "PASSWORD": "p", "USERNAME": "u"}.items():
        found_faults = support_faults(**server | IDENTITY | {name: value})
        assert found_faults == [
            f"{name}: is not used when signing in with a managed identity; remove it, or correct SIGN_IN"
        ]
    [fault] = support_faults(**server, **IDENTITY, SHARED_MAILBOX="team")
    assert "OAuth needs the shared mailbox's address" in fault


def test_1_9_another_identity_is_another_sign_in() -> None:
    ids = ("", OAUTH["CLIENT_ID"], "11111111-2222-4333-8444-555555555555")
    assert len({support(**BARE, **IDENTITY, CLIENT_ID=one).sign_in_fingerprint for one in ids}) == 3


@pytest.mark.parametrize(
    ("text", "endpoint", "host", "port"),
    [
        ("https://graph.microsoft.us/v1.0", "https://graph.microsoft.us/v1.0", "graph.microsoft.us", 443),
        ("HTTPS://Graph.Example/v1.0/", "https://graph.example/v1.0", "graph.example", 443),
        (" https://localhost:8443/beta ", "https://localhost:8443/beta", "localhost", 8443),
    ],
)
def test_1_1_graphs_address_is_the_clouds(text: str, endpoint: str, host: str, port: int) -> None:
    found = whole(**GRAPH, GRAPH_ENDPOINT=text)
    assert found.graph_endpoint == endpoint
    assert (found.mailboxes["support"].host, found.mailboxes["support"].port) == (host, port)


@pytest.mark.parametrize(
    "text",
    [
        *("graph.microsoft.com", "http://graph.microsoft.com/v1.0", "http://localhost/v1.0", "https:///v1.0"),
        *("https://graph.microsoft.com", "https://graph.microsoft.com/", "https://graph.microsoft.com/v1.0/users"),
        *("https://graph.microsoft.com/v1.0?x=1", "https://graph.microsoft.com/v1.0#x", "https://x:99999/v1.0"),
        *("https://user:pw@graph.microsoft.com/v1.0", "https://a b/v1.0", "https://[::1/v1.0", "https://x/../v1.0"),
    ],
)
def test_what_is_no_address_of_graph_is_a_fault_of_the_app(text: str) -> None:
    [fault] = faults(mailbox("support", **GRAPH), SALES, {"GRAPH_ENDPOINT": text})
    assert fault.startswith("GRAPH_ENDPOINT: the value is not the URL of Microsoft Graph; write it with its version")
    assert "pw" not in fault


def test_the_defaults_of_notifications() -> None:
    found = whole(**GRAPH)
    assert (found.graph_webhook_url, found.graph_client_state_keys) == (None, ())
    assert (found.graph_endpoint, found.graph_subscription_minutes) == ("https://graph.microsoft.com/v1.0", 4230)


@pytest.mark.parametrize(
    "url",
    [
        *(HOOK, "https://x.azurewebsites.net/api/graph_webhook?clientId=default", "https://x.example:8443/a"),
        *("http://localhost:7071/api/graph_webhook", "http://127.0.0.1:7071/api/graph_webhook", "http://[::1]:7071/a"),
    ],
)
def test_notifications_go_to_https_or_to_this_very_machine(url: str) -> None:
    assert whole(**GRAPH, GRAPH_WEBHOOK_URL=url, GRAPH_CLIENT_STATE_KEY=ONE).graph_webhook_url == url


@pytest.mark.parametrize(
    "url",
    [
        *("http://x.example/api/graph_webhook", "http://10.0.0.1/api/graph_webhook", "http://localhost.example/a"),
        *("x.azurewebsites.net", "https://x.azurewebsites.net", "https://x.azurewebsites.net/", "ftp://localhost/a"),
        *("https://user:pw@x.example/a", "https://x.example/a#b", "https:///api/graph_webhook", "https://x:0x/a"),
        *("https://x.example/api/ graph_webhook", "https://x.example/api/graph\n_webhook", "https://x.example/a\x7f"),
    ],
)
def test_what_is_no_address_for_notifications_is_a_fault_of_the_app(url: str) -> None:
    settings = {"GRAPH_WEBHOOK_URL": url, "GRAPH_CLIENT_STATE_KEY": ONE}
    [fault] = faults(mailbox("support", **GRAPH), SALES, settings)
    assert fault.startswith("GRAPH_WEBHOOK_URL: the value is not a URL that Graph could send notifications to; ")
    assert "pw" not in fault


@pytest.mark.parametrize(
    ("text", "keys"),
    [(ONE, (ONE,)), (f"{ONE};{TWO}", (ONE, TWO)), (f" {ONE} ; {TWO};; ", (ONE, TWO)), (f" {ONE}; ", (ONE,))],
)
def test_one_key_or_two_prove_notifications(text: str, keys: tuple[str, ...]) -> None:
    found = whole(**GRAPH, GRAPH_WEBHOOK_URL=HOOK, GRAPH_CLIENT_STATE_KEY=text)
    assert tuple(key.get_secret_value() for key in found.graph_client_state_keys) == keys
    assert all(key not in f"{found!r} {found}" for key in keys)


@pytest.mark.parametrize(
    "text", [ONE[1:], f"{ONE};{TWO[1:]}", f"{ONE};{TWO};{THREE}", "; ;", ";", f" {ONE[1:]} ", f"{ONE[1:]}\u00a0"]
)
def test_a_key_that_is_short_or_one_too_many_is_a_fault_that_does_not_show_it(text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        whole(**GRAPH, GRAPH_WEBHOOK_URL=HOOK, GRAPH_CLIENT_STATE_KEY=text)
    [fault] = caught.value.faults
    assert fault.startswith("GRAPH_CLIENT_STATE_KEY: the value is not a key, or a pair of keys separated by ;, of 32 ")
    assert "openssl rand -hex 32" in fault
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert not any(run in shown for run in ("aaaa", "bbbb", "cccc"))


def test_a_key_in_another_setting_is_not_shown_either() -> None:
    for name in ("HOST", "AFTER", "FOLDERS", "ADDRESS", "POLL_EVERY", "SIGN_IN", "PRESET", "SHARED_MAILBOX"):
        for key in (ONE, TWO):
            values = GRAPH | {name: key, "GRAPH_WEBHOOK_URL": HOOK, "GRAPH_CLIENT_STATE_KEY": f"{ONE};{TWO}"}
            found = whole(**values)
            assert key not in str(found.mailbox_errors) + str(found.warnings), name


@pytest.mark.parametrize("server", [GRAPH, {}], ids=["graph", "imap"])
def test_an_address_without_a_key_is_a_fault_of_the_app(server: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        whole(**server, GRAPH_WEBHOOK_URL=HOOK)
    [fault] = caught.value.faults
    assert fault.startswith("GRAPH_CLIENT_STATE_KEY: is not set, and GRAPH_WEBHOOK_URL is; make one with openssl ")


def test_a_graph_mailbox_without_an_address_for_notifications_is_warned_of() -> None:
    [warning] = whole(**GRAPH).warnings
    assert warning.startswith(
        "GRAPH_WEBHOOK_URL: is not set: Graph sends no notifications of new mail, and only the timer"
    )
    assert whole(**GRAPH, GRAPH_CLIENT_STATE_KEY=ONE).warnings == (warning,)
    assert whole(**GRAPH, GRAPH_WEBHOOK_URL=HOOK, GRAPH_CLIENT_STATE_KEY=ONE).warnings == ()
    assert whole().warnings == (), "nobody else has notifications"


def test_1_9_the_pace_is_a_minute_or_a_quarter_of_an_hour_unless_it_is_set() -> None:
    found = support(**GRAPH)
    assert (found.poll_every, found.poll_every_subscribed) == (60, 900)
    for seconds in (60, 300, 7200):
        found = support(**GRAPH, POLL_EVERY=str(seconds))
        assert (found.poll_every, found.poll_every_subscribed) == (seconds, seconds)


@pytest.mark.parametrize("text", ["44", "0", "-1", "1000001", "4230.5", "three days"])
def test_a_subscription_lasts_three_quarters_of_an_hour_at_least(text: str) -> None:
    [fault] = faults(mailbox("support", **GRAPH), SALES, {"GRAPH_SUBSCRIPTION_MINUTES": text})
    assert fault.startswith("GRAPH_SUBSCRIPTION_MINUTES: ")
    assert "use 45 to 1000000" in fault
    assert whole(**GRAPH, GRAPH_SUBSCRIPTION_MINUTES="45").graph_subscription_minutes == 45
