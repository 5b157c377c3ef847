"""The app settings that a deployment writes, read by the app."""

from __future__ import annotations

import re

from shared.config import SignIn, load_settings
from shared.config.model import AppSettings, declarations
from tests.infra.bicep import ROOT, app_settings, snapshot

VAULT = "https://kv-1.vault.azure.net/"
IDENTITY = "11111111-2222-3333-4444-555555555555"
SECRETS = {"support-password": "hush", "orders-password": "hush", "graph-key": "0123456789abcdef" * 4}

PLATFORM = {
    "APPLICATIONINSIGHTS_AUTHENTICATION_STRING": "read by the exporter and the host, to send with a token",
    "AZURE_CLIENT_ID": "read by DefaultAzureCredential, to select the identity",
    "PYTHON_THREADPOOL_THREAD_COUNT": "read by the worker",
    "PYTHON_ENABLE_OPENTELEMETRY": "read by the worker",
}
"""App settings of infra that are not Mailroom's, with their readers."""

DEFAULTS = {
    *("POLL_BUDGET", "LOOP_LIMIT", "MAX_RECIPIENTS", "MAX_ATTACHMENTS", "SIGN_IN_AUTHORITY", "GRAPH_ENDPOINT"),
    "GRAPH_SUBSCRIPTION_MINUTES",
}
"""The settings whose default infra repeats."""


def resolved(settings: dict[str, str], secrets: dict[str, str] = SECRETS) -> dict[str, str]:
    """Return the settings with the references replaced, as Azure does before the app reads them."""
    references = {f"@Microsoft.KeyVault(SecretUri={VAULT}secrets/{name})": value for name, value in secrets.items()}
    return {name: references.get(value, value) for name, value in settings.items()}


def mailroom_settings() -> set[str]:
    """Return Mailroom's settings that infra writes; the parts of an identity-based setting count as one."""
    names = {name.partition("__")[0] for name in app_settings("everything")}
    return names - set(PLATFORM) - {"MAILBOXES", "ROUTES"}


def test_infra_sets_exactly_the_settings_of_the_app() -> None:
    flat = {declaration.name for declaration in declarations(AppSettings).values()}
    assert mailroom_settings() == flat - {"STORE_MODE"}, "STORE_MODE is only for folder storage"


def test_app_settings_have_names_and_texts_that_azure_accepts() -> None:
    for name in ("everything", "system-identity"):
        for key, value in app_settings(name).items():
            assert re.fullmatch(r"[A-Za-z0-9_.]+", key)
            assert isinstance(value, str)


def test_infra_repeats_the_codes_defaults() -> None:
    environment = app_settings("system-identity")
    settings = load_settings(environment)
    assert set(environment) >= DEFAULTS
    for name in DEFAULTS:
        assert load_settings({key: value for key, value in environment.items() if key != name}) == settings, name


def test_every_setting_in_a_binding_is_set() -> None:
    code = "".join(
        (ROOT / folder / "__init__.py").read_text() for folder in ("poll_timer", "graph_webhook", "route_message")
    )
    named = set(re.findall(r'"%(\w+)%"', code)) | set(re.findall(r'connection="(\w+)"', code))
    assert "POLL_SCHEDULE" in named
    assert named <= mailroom_settings()


def test_the_number_of_threads_is_documented() -> None:
    count = app_settings("everything")["PYTHON_THREADPOOL_THREAD_COUNT"]
    assert "`PYTHON_THREADPOOL_THREAD_COUNT`" in (ROOT / "docs/reference/host.md").read_text()
    assert f"set it to {count} on the function app" in (ROOT / "docs/reference/host.md").read_text()


def test_mailboxes_routes_and_secrets_become_settings_that_the_app_reads() -> None:
    read = load_settings(resolved(app_settings("everything")))
    assert not read.mailbox_errors
    assert not read.route_errors
    support, office = read.mailboxes["support"], read.mailboxes["office"]
    assert (support.host, support.port, support.trusted_hops) == ("imap.example.com", 993, 2)
    assert support.delivery_hints is False
    assert support.password is not None
    assert support.password.get_secret_value() == "hush"
    assert (office.sign_in, office.client_id) == (SignIn.MANAGED_IDENTITY, IDENTITY)
    assert [(route.name, route.order, route.enabled) for route in read.routes] == [("sales", 10, True)]
    assert read.poll_budget == 60
    assert read.graph_webhook_url == "https://func-1.azurewebsites.net/api/graph_webhook"
    assert read.graph_client_state_keys


def test_a_list_is_joined_and_null_is_not_set() -> None:
    settings = app_settings("everything")
    assert settings["MAILBOXES__support__FOLDERS"] == "INBOX;INBOX/Orders"
    assert "MAILBOXES__support__USERNAME" not in settings
    read = load_settings(resolved(settings))
    assert read.mailboxes["support"].folders == ("INBOX", "INBOX/Orders")
    assert read.mailboxes["support"].aliases == ("help@example.com", "service@example.com")
    assert read.routes[0].senders == ("*@customer.example", "partner@example.net")


def test_a_user_assigned_identity_is_named_in_all_settings() -> None:
    settings = app_settings("everything")
    assert settings["AzureWebJobsStorage__accountName"] == "stapp"
    assert settings["AzureWebJobsStorage__credential"] == "managedidentity"
    assert settings["AzureWebJobsStorage__clientId"] == IDENTITY
    assert settings["AZURE_CLIENT_ID"] == IDENTITY
    assert settings["APPLICATIONINSIGHTS_AUTHENTICATION_STRING"] == f"ClientId={IDENTITY};Authorization=AAD"
    assert load_settings(resolved(settings)).app_storage.client_id == IDENTITY


def test_a_system_assigned_identity_is_not_named() -> None:
    settings = app_settings("system-identity")
    assert settings["APPLICATIONINSIGHTS_AUTHENTICATION_STRING"] == "Authorization=AAD"
    assert not [name for name in settings if name.upper().endswith("CLIENT_ID") or name.endswith("clientId")]


def test_a_mailbox_with_an_identity_of_its_own_keeps_it() -> None:
    assert app_settings("everything")["MAILBOXES__sales__CLIENT_ID"] == "66666666-7777-8888-9999-000000000000"


def test_without_a_key_graph_sends_no_notifications() -> None:
    settings = app_settings("system-identity")
    assert not [name for name in settings if name.startswith(("GRAPH_WEBHOOK", "GRAPH_CLIENT"))]
    assert load_settings(settings).graph_webhook_url is None


def test_an_unresolved_reference_is_an_error_of_its_mailbox_alone() -> None:
    settings = resolved(app_settings("everything"), {name: SECRETS[name] for name in ("support-password", "graph-key")})
    read = load_settings(settings)
    assert set(read.mailbox_errors) == {"orders"}
    assert set(read.mailboxes) >= {"support", "office"}


def test_main_passes_its_parameters_to_the_settings() -> None:
    """In an installation the values that only Azure knows make the settings one expression."""
    settings = snapshot("full-private").single("Microsoft.Web/sites/config")["properties"]
    for part in (
        "'MAILBOXES__support__FOLDERS', 'value', 'INBOX;INBOX/Orders'",
        "'MAILBOXES__orders__PASSWORD'",
        "'ROUTES__sales__SENDERS', 'value', '*@customer.example;partner@example.net'",
        "'graph-client-state'",
        "'POLL_BUDGET', '120'",
        "'MAIL_CONTAINER', 'mail'",
    ):
        assert part in settings, part
