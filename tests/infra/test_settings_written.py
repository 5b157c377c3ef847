"""The app settings that a deployment writes, read by the app."""

from __future__ import annotations

from typing import Any

from shared.config import SignIn, load_settings
from tests.infra.bicep import INFRA, every, properties, text, tree
from tests.infra.evaluate import File

VAULT = "https://kv-1.vault.azure.net/"
IDENTITY = "11111111-2222-3333-4444-555555555555"

GIVEN: dict[str, Any] = {
    "siteName": "func-1",
    "hostName": "func-1.azurewebsites.net",
    "storageName": "stapp",
    "mailStorageUrl": "https://stmail.blob.core.windows.net",
    "mailContainer": "mail",
    "insightsConnectionString": "InstrumentationKey=11111111-2222-3333-4444-555555555555",
    "identityClientId": IDENTITY,
    "vaultUri": VAULT,
    "mailboxes": {},
    "mailboxSecrets": {},
    "routes": {},
    "graphKeySecret": "",
    "tuning": {},
}


def written(**given: Any) -> dict[str, str]:
    """Return the app settings."""
    path = INFRA / "app/settings.bicep"
    resource = next(item for item in every(tree(path), "resource_declaration") if "'appsettings'" in text(item))
    body = next(every(resource, "object"))
    result: dict[str, str] = File(path, **GIVEN | given).value(text(properties(body)["properties"]))
    assert all(isinstance(value, str) for value in result.values()), "app settings are texts"
    return result


def resolved(settings: dict[str, str], secrets: dict[str, str]) -> dict[str, str]:
    """Return the settings with the references replaced, as Azure does before the app reads them."""
    references = {f"@Microsoft.KeyVault(SecretUri={VAULT}secrets/{name})": value for name, value in secrets.items()}
    return {name: references.get(value, value) for name, value in settings.items()}


def test_mailboxes_routes_and_secrets_become_settings_that_the_app_reads() -> None:
    settings = written(
        mailboxes={
            "support": {"PROTOCOL": "imap", "HOST": "imap.example.com", "PORT": 993, "ADDRESS": "support@example.com"},
            "office": {"PROTOCOL": "graph", "ADDRESS": "office@example.com", "SIGN_IN": "managed-identity"},
        },
        mailboxSecrets={"support": {"PASSWORD": "support-password"}},
        routes={"sales": {"ADDRESS": "sales@example.com", "ENABLED": True}},
        graphKeySecret="graph-key",
        tuning={"POLL_BUDGET": "60"},
    )
    read = load_settings(resolved(settings, {"support-password": "hush", "graph-key": "0123456789abcdef" * 4}))
    assert not read.mailbox_errors
    support, office = read.mailboxes["support"], read.mailboxes["office"]
    assert (support.host, support.port) == ("imap.example.com", 993)
    assert support.password is not None
    assert support.password.get_secret_value() == "hush"
    assert (office.sign_in, office.client_id) == (SignIn.MANAGED_IDENTITY, IDENTITY)
    assert [route.name for route in read.routes] == ["sales"]
    assert read.poll_budget == 60
    assert read.graph_webhook_url == "https://func-1.azurewebsites.net/api/graph_webhook"
    assert read.graph_client_state_keys


def test_a_user_assigned_identity_is_named_in_all_settings() -> None:
    settings = written()
    assert settings["AzureWebJobsStorage__clientId"] == IDENTITY
    assert settings["AZURE_CLIENT_ID"] == IDENTITY
    assert settings["APPLICATIONINSIGHTS_AUTHENTICATION_STRING"] == f"ClientId={IDENTITY};Authorization=AAD"
    assert load_settings(settings).app_storage.client_id == IDENTITY


def test_a_system_assigned_identity_is_not_named() -> None:
    office = {"PROTOCOL": "graph", "ADDRESS": "office@example.com", "SIGN_IN": "managed-identity"}
    settings = written(identityClientId="", mailboxes={"office": office})
    assert settings["APPLICATIONINSIGHTS_AUTHENTICATION_STRING"] == "Authorization=AAD"
    assert not [name for name in settings if name.upper().endswith("CLIENT_ID") or name.endswith("clientId")]


def test_a_mailbox_with_an_identity_of_its_own_keeps_it() -> None:
    own = "66666666-7777-8888-9999-000000000000"
    office = {"PROTOCOL": "graph", "ADDRESS": "office@example.com", "SIGN_IN": "managed-identity", "CLIENT_ID": own}
    assert written(mailboxes={"office": office})["MAILBOXES__office__CLIENT_ID"] == own


def test_without_a_key_graph_sends_no_notifications() -> None:
    settings = written()
    assert not [name for name in settings if name.startswith(("GRAPH_WEBHOOK", "GRAPH_CLIENT"))]
    assert load_settings(settings).graph_webhook_url is None


def test_an_unresolved_reference_is_an_error_of_its_mailbox_alone() -> None:
    boxes = {
        name: {"PROTOCOL": "imap", "HOST": "imap.example.com", "ADDRESS": f"{name}@example.com"} for name in ("a", "b")
    }
    settings = written(mailboxes=boxes, mailboxSecrets={name: {"PASSWORD": f"{name}-password"} for name in boxes})
    read = load_settings(resolved(settings, {"a-password": "hush"}))
    assert set(read.mailboxes) == {"a"}
    assert set(read.mailbox_errors) == {"b"}
