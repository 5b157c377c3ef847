"""Graph mailboxes, and the settings of Graph's notifications."""

from __future__ import annotations

import traceback

import pytest

from shared.config import After, AppSettings, MailboxSettings, MailProtocol, SignIn, Tls
from shared.errors import ConfigurationError
from tests.unit.test_config import SALES, app_errors, mailbox, read

OAUTH = {"TENANT_ID": "example.onmicrosoft.com", "CLIENT_ID": "0f8fad5b-d9cb-469f-a165-70867728950e"}
SECRET = {**OAUTH, "CLIENT_SECRET": "hush-secret"}
IDENTITY = {"SIGN_IN": "managed-identity"}
BARE = {"PROTOCOL": "graph", "HOST": "", "PASSWORD": ""}
GRAPH = {**BARE, **SECRET}
ONE, TWO, THREE = (letter * 31 + "!" for letter in "abc")
HOOK = "https://mail.example.net/api/graph_webhook"


def support(**values: str) -> MailboxSettings:
    """Return the mailbox; settings that begin with GRAPH_ are the app's."""
    result = whole(**values)
    assert result.mailbox_errors == {}
    return result.mailboxes["support"]


def whole(**values: str) -> AppSettings:
    own, apps = ({k: v for k, v in values.items() if k.startswith("GRAPH_") is app} for app in (False, True))
    return read(mailbox("support", **own), SALES, apps)


def support_errors(**values: str) -> list[str]:
    result = whole(**values)
    assert "support" not in result.mailboxes
    return sorted(error.removeprefix("MAILBOXES__support__") for error in result.mailbox_errors["support"])


@pytest.mark.parametrize("how", [{}, {"PROTOCOL": "", "PRESET": "office365-graph"}, {"PRESET": "Office365-Graph"}])
def test_1_1_a_graph_mailbox_needs_no_server(how: dict[str, str]) -> None:
    result = support(**GRAPH | how)
    assert (result.protocol, result.host, result.port) == (MailProtocol.GRAPH, "graph.microsoft.com", 443)
    assert (result.tls, result.sign_in, result.folders) == (Tls.IMPLICIT, SignIn.CLIENT_SECRET, ("INBOX",))


def test_1_1_the_preset_is_for_graph_alone() -> None:
    assert support_errors(**GRAPH | {"PRESET": "office365-graph", "PROTOCOL": "imap"})[-1].startswith(
        "PROTOCOL: contradicts PRESET, which is for graph"
    )
    assert any("contradicts PRESET" in item for item in support_errors(**GRAPH | {"PRESET": "office365-imap"}))


@pytest.mark.parametrize("name", ["ADDRESS", "TENANT_ID", "CLIENT_ID"])
def test_1_4_a_graph_mailbox_requires_settings(name: str) -> None:
    [error] = support_errors(**GRAPH | {name: ""})
    assert error.startswith(f"{name}: is not set; ")


def test_1_4_a_graph_mailbox_without_credentials_is_asked_for_oauth_and_not_for_a_password() -> None:
    [error] = support_errors(**BARE)
    assert error.startswith("CLIENT_SECRET: is not set; set TENANT_ID, CLIENT_ID and CLIENT_SECRET or CERTIFICATE, or ")
    assert "SIGN_IN=managed-identity" in error
    [error] = support_errors(**BARE, **OAUTH)
    assert error.startswith("SIGN_IN: cannot be determined; set CLIENT_SECRET")


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
def test_settings_that_a_graph_mailbox_refuses(values: dict[str, str], name: str, words: str) -> None:
    result = support_errors(**GRAPH | values)
    assert any(error.startswith(f"{name}: ") and words in error for error in result), result
    assert not any("pw" in error for error in result)


def test_1_5_a_shared_mailbox_is_opened_by_its_address() -> None:
    result = support(**GRAPH, SHARED_MAILBOX="Team@Example.com")
    assert (result.mailbox_address, result.address) == ("team@example.com", "support@example.com")


def test_1_6_folders_are_paths_in_their_order() -> None:
    assert support(**GRAPH, FOLDERS="inbox; INBOX/Orders ;Büro/2026").folders == ("INBOX", "INBOX/Orders", "Büro/2026")


@pytest.mark.parametrize(
    ("folders", "target"),
    [("Archive", "archive"), ("INBOX;INBOX/Orders", "inbox/orders"), ("Büro/2026", "BÜRO / 2026/"), ("", "Inbox")],
)
def test_1_3_exchange_compares_a_move_target_without_case(folders: str, target: str) -> None:
    [error] = support_errors(**GRAPH, FOLDERS=folders, AFTER=f"move:{target}")
    assert error.startswith("AFTER: ")
    assert "is a folder that is polled" in error
    assert support(**GRAPH, FOLDERS=folders, AFTER="move:INBOX/Done").move_to == "INBOX/Done"


@pytest.mark.parametrize("host", ["graph.microsoft.com", "graph.microsoft.us", "microsoftgraph.chinacloudapi.cn"])
@pytest.mark.parametrize("after", [After.DELETE, After.TRASH, After.KEEP])
def test_1_3_every_cloud_accepts_every_value(host: str, after: After) -> None:
    result = support(**GRAPH, AFTER=f" {after.value.title()} ", GRAPH_ENDPOINT=f"https://{host}/v1.0")
    assert (result.after, result.move_to, result.host) == (after, None, host)


@pytest.mark.parametrize("folders", ["deletedItems", "INBOX;Deleted Items", "deleted items"])
def test_1_3_the_deleted_items_are_not_polled_with_trash(folders: str) -> None:
    [error] = support_errors(**GRAPH, FOLDERS=folders, AFTER="trash")
    assert error.startswith("AFTER: trash moves mail to ")
    assert "which FOLDERS polls; use delete, or move:FOLDER" in error
    for after in ("delete", "keep", "move:Done"):
        assert support(**GRAPH, FOLDERS=folders, AFTER=after).folders == tuple(folders.split(";"))
    assert support(**GRAPH, FOLDERS="INBOX;Deleted Items/Old", AFTER="trash").after is After.TRASH


@pytest.mark.parametrize("server", [BARE, {"PASSWORD": "", "HOST": "outlook.office365.com"}], ids=["graph", "imap"])
def test_1_4_a_managed_identity_needs_no_secret(server: dict[str, str]) -> None:
    result = support(**server, **IDENTITY)
    assert (result.sign_in, result.client_id, result.tenant_id) == (SignIn.MANAGED_IDENTITY, None, None)
    assert support(**server, **IDENTITY, CLIENT_ID=OAUTH["CLIENT_ID"]).client_id == OAUTH["CLIENT_ID"]
    for name, value in {"TENANT_ID": "t", "CLIENT_SECRET": "s", "PASSWORD": "p", "USERNAME": "u"}.items():
        errors = support_errors(**server | IDENTITY | {name: value})
        assert errors == [f"{name}: is not used when signing in with a managed identity; remove it, or correct SIGN_IN"]
    [error] = support_errors(**server, **IDENTITY, SHARED_MAILBOX="team")
    assert "OAuth needs the shared mailbox's address" in error


def test_1_9_another_identity_is_another_sign_in() -> None:
    ids = ("", OAUTH["CLIENT_ID"], "11111111-2222-4333-8444-555555555555")
    assert len({support(**BARE, **IDENTITY, CLIENT_ID=item).sign_in_fingerprint for item in ids}) == 3


@pytest.mark.parametrize(
    ("text", "endpoint", "host", "port"),
    [
        ("https://graph.microsoft.us/v1.0", "https://graph.microsoft.us/v1.0", "graph.microsoft.us", 443),
        ("HTTPS://Graph.Example/v1.0/", "https://graph.example/v1.0", "graph.example", 443),
        (" https://localhost:8443/beta ", "https://localhost:8443/beta", "localhost", 8443),
    ],
)
def test_1_1_the_graph_endpoint_is_that_of_the_cloud(text: str, endpoint: str, host: str, port: int) -> None:
    result = whole(**GRAPH, GRAPH_ENDPOINT=text)
    assert result.graph_endpoint == endpoint
    assert (result.mailboxes["support"].host, result.mailboxes["support"].port) == (host, port)


@pytest.mark.parametrize(
    "text",
    [
        *("graph.microsoft.com", "http://graph.microsoft.com/v1.0", "http://localhost/v1.0", "https:///v1.0"),
        *("https://graph.microsoft.com", "https://graph.microsoft.com/", "https://graph.microsoft.com/v1.0/users"),
        *("https://graph.microsoft.com/v1.0?x=1", "https://graph.microsoft.com/v1.0#x", "https://x:99999/v1.0"),
        *("https://user:pw@graph.microsoft.com/v1.0", "https://a b/v1.0", "https://[::1/v1.0", "https://x/../v1.0"),
    ],
)
def test_an_invalid_graph_endpoint_is_an_error_of_the_app(text: str) -> None:
    [error] = app_errors(mailbox("support", **GRAPH), SALES, {"GRAPH_ENDPOINT": text})
    assert error.startswith("GRAPH_ENDPOINT: the value is not the URL of Microsoft Graph; write it with its version")
    assert "pw" not in error


def test_the_defaults_of_notifications() -> None:
    result = whole(**GRAPH)
    assert (result.graph_webhook_url, result.graph_client_state_keys) == (None, ())
    assert (result.graph_endpoint, result.graph_subscription_minutes) == ("https://graph.microsoft.com/v1.0", 10080)


@pytest.mark.parametrize(
    "url",
    [
        *(HOOK, "https://x.azurewebsites.net/api/graph_webhook?clientId=default", "https://x.example:8443/a"),
        *("http://localhost:7071/api/graph_webhook", "http://127.0.0.1:7071/api/graph_webhook", "http://[::1]:7071/a"),
    ],
)
def test_notifications_go_to_https_or_to_this_machine(url: str) -> None:
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
def test_an_invalid_webhook_url_is_an_error_of_the_app(url: str) -> None:
    settings = {"GRAPH_WEBHOOK_URL": url, "GRAPH_CLIENT_STATE_KEY": ONE}
    [error] = app_errors(mailbox("support", **GRAPH), SALES, settings)
    assert error.startswith("GRAPH_WEBHOOK_URL: the value is not a URL that Graph could send notifications to; ")
    assert "pw" not in error


@pytest.mark.parametrize(
    ("text", "keys"),
    [(ONE, (ONE,)), (f"{ONE};{TWO}", (ONE, TWO)), (f" {ONE} ; {TWO};; ", (ONE, TWO)), (f" {ONE}; ", (ONE,))],
)
def test_one_or_two_keys_prove_notifications(text: str, keys: tuple[str, ...]) -> None:
    result = whole(**GRAPH, GRAPH_WEBHOOK_URL=HOOK, GRAPH_CLIENT_STATE_KEY=text)
    assert tuple(key.get_secret_value() for key in result.graph_client_state_keys) == keys
    assert all(key not in f"{result!r} {result}" for key in keys)


@pytest.mark.parametrize(
    "text", [ONE[1:], f"{ONE};{TWO[1:]}", f"{ONE};{TWO};{THREE}", "; ;", ";", f" {ONE[1:]} ", f"{ONE[1:]}\u00a0"]
)
def test_an_invalid_key_is_not_shown(text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        whole(**GRAPH, GRAPH_WEBHOOK_URL=HOOK, GRAPH_CLIENT_STATE_KEY=text)
    [error] = caught.value.errors
    assert error.startswith("GRAPH_CLIENT_STATE_KEY: the value is not a key, or a pair of keys separated by ;, of 32 ")
    assert "openssl rand -hex 32" in error
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert not any(run in shown for run in ("aaaa", "bbbb", "cccc"))


def test_a_key_in_another_setting_is_not_shown_either() -> None:
    for name in ("HOST", "AFTER", "FOLDERS", "ADDRESS", "POLL_EVERY", "SIGN_IN", "PRESET", "SHARED_MAILBOX"):
        for key in (ONE, TWO):
            values = GRAPH | {name: key, "GRAPH_WEBHOOK_URL": HOOK, "GRAPH_CLIENT_STATE_KEY": f"{ONE};{TWO}"}
            result = whole(**values)
            assert key not in str(result.mailbox_errors) + str(result.warnings), name


@pytest.mark.parametrize("server", [GRAPH, {}], ids=["graph", "imap"])
def test_a_webhook_url_without_a_key_is_an_error_of_the_app(server: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        whole(**server, GRAPH_WEBHOOK_URL=HOOK)
    [error] = caught.value.errors
    assert error.startswith("GRAPH_CLIENT_STATE_KEY: is not set, and GRAPH_WEBHOOK_URL is; make one with openssl ")


def test_a_graph_mailbox_without_a_webhook_url_is_a_warning() -> None:
    [warning] = whole(**GRAPH).warnings
    assert warning.startswith(
        "GRAPH_WEBHOOK_URL: is not set: Graph sends no notifications of new mail, and only the timer"
    )
    assert whole(**GRAPH, GRAPH_CLIENT_STATE_KEY=ONE).warnings == (warning,)
    assert whole(**GRAPH, GRAPH_WEBHOOK_URL=HOOK, GRAPH_CLIENT_STATE_KEY=ONE).warnings == ()
    assert whole().warnings == (), "only Graph has notifications"


def test_1_9_the_poll_interval_is_a_minute_or_a_quarter_of_an_hour_by_default() -> None:
    result = support(**GRAPH)
    assert (result.poll_every, result.poll_every_subscribed) == (60, 900)
    for seconds in (60, 300, 7200):
        result = support(**GRAPH, POLL_EVERY=str(seconds))
        assert (result.poll_every, result.poll_every_subscribed) == (seconds, seconds)


@pytest.mark.parametrize("text", ["44", "0", "-1", "1000001", "4230.5", "three days"])
def test_a_subscription_lasts_three_quarters_of_an_hour_at_least(text: str) -> None:
    [error] = app_errors(mailbox("support", **GRAPH), SALES, {"GRAPH_SUBSCRIPTION_MINUTES": text})
    assert error.startswith("GRAPH_SUBSCRIPTION_MINUTES: ")
    assert "use 45 to 1000000" in error
    assert whole(**GRAPH, GRAPH_SUBSCRIPTION_MINUTES="45").graph_subscription_minutes == 45
