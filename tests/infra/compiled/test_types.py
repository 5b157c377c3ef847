"""The types of the parameters and the settings that the app reads agree: names, allowed values and limits."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest
import trustme

from shared.config import load_settings
from shared.config.model import AppSettings, MailboxSettings, declarations
from shared.config.presets import After, MailProtocol, PlusAddressing, Preset, SignIn, Tls
from shared.errors import ConfigurationError
from shared.routing.model import Route
from tests.infra.bicep import INFRA
from tools.bicep import Compiler

Type = dict[str, Any]

BASE = {"AzureWebJobsStorage__accountName": "stapp", "MAIL_STORAGE": "https://st.blob.core.windows.net"}

SERVER = {
    MailProtocol.IMAP: {"PROTOCOL": "imap", "HOST": "imap.example.com", "ADDRESS": "a@example.com"},
    MailProtocol.POP3: {"PROTOCOL": "pop3", "HOST": "pop.example.com", "ADDRESS": "a@example.com"},
    MailProtocol.GRAPH: {"PROTOCOL": "graph", "ADDRESS": "a@example.com"},
}

CREDENTIALS = (
    {"PASSWORD": "hush"},
    {"PASSWORD": "hush", "SHARED_MAILBOX": "s@example.com"},
    {"TENANT_ID": "example.com", "CLIENT_ID": "11111111-2222-3333-4444-555555555555", "CLIENT_SECRET": "hush"},
    {"TENANT_ID": "example.com", "CLIENT_ID": "11111111-2222-3333-4444-555555555555", "CERTIFICATE": "text"},
    {"TENANT_ID": "example.com", "CLIENT_ID": "11111111-2222-3333-4444-555555555555", "SIGN_IN": "certificate"},
    {"SIGN_IN": "managed-identity"},
    {"SIGN_IN": "managed-identity", "PRESET": "office365-graph"},
)
"""Every way to sign in. A setting belongs to a protocol if it is valid with one of them."""

SAMPLES = {
    "PRESET": "office365-imap office365-pop3 office365-graph",
    "HOST": "mail.example.com",
    "PORT": "1993",
    "TLS": "starttls",
    "ALLOW_PLAINTEXT": "true",
    "USERNAME": "someone",
    "SIGN_IN": "password client-secret certificate managed-identity",
    "TENANT_ID": "example.com",
    "CLIENT_ID": "11111111-2222-3333-4444-555555555555",
    "CERTIFICATE_FILE": "a.pem",
    "SHARED_MAILBOX": "s@example.com",
    "SHARED_LOGIN": "{shared}*{username}",
    "FOLDERS": "INBOX;Orders",
    "AFTER": "keep",
    "SINCE": "now",
    "POLL_EVERY": "60",
    "MAX_MESSAGE_BYTES": "1MB",
    "DISABLE_AFTER": "5",
    "ALIASES": "b@example.com;c@example.com",
    "DELIVERY_HINTS": "false",
    "DELIVERY_FIELDS": "X-Alias;X-Other",
    "TRUSTED_HOPS": "2",
    "RECEIVED_BY": "mx.example.com",
    "PLUS_ADDRESSING": "off",
    "FALLBACK": "r",
    "BLOCKED_SENDERS": "*@spam.example;x@example.com",
    "ENABLED": "false",
}
"""Valid values of each setting that is neither required nor secret, except CA_FILE; several are separated by blanks."""

ROUTE = {
    "MAILBOX": "m",
    "ADDRESS": "r@example.com",
    "ORDER": "5",
    "SENDERS": "*@a.example;b@example.com",
    "RECIPIENTS": "*@a.example;b@example.com",
    "SUBJECT_WORDS": "a;b",
    "ATTACHMENT_TYPES": "pdf;txt",
    "IMPORTANT": "true",
    "FOLDERS": "INBOX;Orders",
    "ENABLED": "true",
}


@pytest.fixture(scope="module")
def template(compiler: Compiler) -> Type:
    return compiler.template(INFRA / "main.bicep")


def resolve(template: Type, node: Type) -> Type:
    """Follow a reference to a definition."""
    while "$ref" in node:
        target = template["definitions"][node["$ref"].rpartition("/")[2]]
        node = {**target, **{key: value for key, value in node.items() if key != "$ref"}}
    return node


def named(template: Type, parameter: str) -> Type:
    """Return the type of a parameter, or of the values of a parameter that is a map."""
    node = resolve(template, template["parameters"][parameter])
    values = None if node.get("properties") else node.get("additionalProperties")
    return resolve(template, values) if isinstance(values, dict) else node


def mailbox_type(template: Type, protocol: str) -> Type:
    return resolve(template, named(template, "mailboxes")["discriminator"]["mapping"][protocol])


def fields(template: Type, node: Type) -> dict[str, Type]:
    assert node["additionalProperties"] is False, "unknown names must be refused"
    return {name: resolve(template, field) for name, field in node["properties"].items()}


def errors_with(protocol: MailProtocol, settings: dict[str, str]) -> list[str]:
    """Return the errors of a mailbox with these settings; the fewest of all ways to sign in."""
    error_lists = []
    for credentials in CREDENTIALS:
        values = SERVER[protocol] | credentials | settings
        read = load_settings(
            BASE | {f"MAILBOXES__m__{name}": value for name, value in values.items()} | {"ROUTES__r__ADDRESS": "*"},
            certificates=False,
            complete=False,
        )
        error_lists.append([error for errors in read.mailbox_errors.values() for error in errors])
    return min(error_lists, key=len)


def accepted(protocol: MailProtocol, name: str, value: str) -> bool:
    return errors_with(protocol, {name: value}) == []


@pytest.mark.parametrize("protocol", MailProtocol)
def test_a_mailbox_has_the_settings_that_the_app_accepts_for_its_protocol(
    template: Type, protocol: MailProtocol, tmp_path: Path
) -> None:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    samples = SAMPLES | {"CA_FILE": str(tmp_path / "ca.pem")}
    declared = [setting for setting in declarations(MailboxSettings).values() if not setting.is_secret]
    required = {"PROTOCOL", "ADDRESS"}
    assert {setting.name for setting in declared} == {*samples, *required}
    usable = {
        name for name, values in samples.items() if any(accepted(protocol, name, value) for value in values.split(" "))
    }
    # POP3 accepts FOLDERS=INBOX alone, which is the default.
    assert set(fields(template, mailbox_type(template, protocol))) == usable | required


@pytest.mark.parametrize("protocol", MailProtocol)
def test_allowed_values_are_those_that_the_app_accepts(template: Type, protocol: MailProtocol) -> None:
    words = {
        "TLS": tuple(Tls),
        "SIGN_IN": tuple(SignIn),
        "PRESET": tuple(Preset),
        "PLUS_ADDRESSING": tuple(PlusAddressing),
        "AFTER": tuple(word for word in After if word != "move"),
    }
    types = fields(template, mailbox_type(template, protocol))
    for name, choices in words.items():
        extra = {"ALLOW_PLAINTEXT": "true"} if name == "TLS" and "TLS" in types else {}
        usable = {word for word in choices if errors_with(protocol, {name: word} | extra) == []}
        allowed = types.get(name, {}).get("allowedValues")
        if name in types and allowed is not None:
            assert set(allowed) - {None} == usable, name
        else:
            assert (name, protocol) in {("TLS", "graph"), ("AFTER", "imap"), ("AFTER", "graph")}


@pytest.mark.parametrize("protocol", MailProtocol)
def test_limits_of_a_mailbox_are_those_of_the_app(template: Type, protocol: MailProtocol) -> None:
    limited = 0
    for name, field in fields(template, mailbox_type(template, protocol)).items():
        if field["type"] == "int":
            limited += 1
            least, most = field["minValue"], field["maxValue"]
            assert [accepted(protocol, name, str(value)) for value in (least - 1, least, most, most + 1)] == [
                *(False, True, True, False)
            ], name
    assert limited >= 3


def test_a_route_has_the_settings_of_the_app(template: Type) -> None:
    types = fields(template, named(template, "routes"))
    assert set(types) == {setting.name for setting in declarations(Route).values()} == set(ROUTE)
    values = {f"ROUTES__r__{name}": value for name, value in ROUTE.items()}
    mailbox = {f"MAILBOXES__m__{name}": value for name, value in {**SERVER[MailProtocol.IMAP], "PASSWORD": "x"}.items()}
    for order, valid in (("-1000001", False), ("-1000000", True), ("1000000", True), ("1000001", False)):
        read = load_settings(BASE | mailbox | values | {"ROUTES__r__ORDER": order})
        assert (not read.route_errors) == valid, order
    assert (types["ORDER"]["minValue"], types["ORDER"]["maxValue"]) == (-1000000, 1000000)


@pytest.mark.parametrize("parameter", ["mailboxes", "routes"])
def test_lists_booleans_and_numbers_are_typed_as_the_app_reads_them(template: Type, parameter: str) -> None:
    models = {"mailboxes": MailboxSettings, "routes": Route}
    types = (
        [mailbox_type(template, protocol) for protocol in MailProtocol]
        if parameter == "mailboxes"
        else [named(template, "routes")]
    )
    for node in types:
        for name, field in fields(template, node).items():
            annotation = str(declarations(models[parameter])[name.lower()].info.annotation)
            kind = (
                "array"
                if "tuple" in annotation
                else "bool"
                if "bool" in annotation
                else "int"
                if "int" in annotation
                else ""
            )
            # A size is a text, such as 150MB.
            kind = "" if name == "MAX_MESSAGE_BYTES" else kind
            assert field["type"] == (kind or "string"), name


def test_lists_are_joined_for_exactly_the_settings_that_are_lists(template: Type, compiler: Compiler) -> None:
    lists = {
        name
        for node in (*(mailbox_type(template, protocol) for protocol in MailProtocol), named(template, "routes"))
        for name, field in fields(template, node).items()
        if field["type"] == "array"
    }
    # The list is an exported variable, which the compiler copies to the module that imports it.
    match = re.search(r"\[[^\[\]]*'BLOCKED_SENDERS'[^\[\]]*\]", str(compiler.template(INFRA / "app/settings.bicep")))
    assert match
    assert set(ast.literal_eval(match[0])) == lists


def test_secrets_are_the_secret_settings_of_a_mailbox(template: Type) -> None:
    secrets = {setting.name for setting in declarations(MailboxSettings).values() if setting.is_secret}
    assert set(fields(template, named(template, "mailboxSecretNames"))) == secrets


def test_tuning_has_the_settings_with_a_default(template: Type) -> None:
    types = fields(template, named(template, "tuning"))
    flat = {setting.name: setting for setting in declarations(AppSettings).values()}
    set_by_infra = {
        *("AzureWebJobsStorage", "MAIL_STORAGE", "MAIL_CONTAINER", "GRAPH_WEBHOOK_URL", "GRAPH_CLIENT_STATE_KEY"),
        "APPLICATIONINSIGHTS_CONNECTION_STRING",
    }
    assert set(types) == set(flat) - set_by_infra - {"STORE_MODE"}
    for name, field in types.items():
        if field["type"] == "int":
            load_settings(BASE | {name: str(field["minValue"])})
            with pytest.raises(ConfigurationError, match=name):
                load_settings(BASE | {name: str(field["minValue"] - 1)})


def test_the_parameters_file_has_mains_parameters(template: Type) -> None:
    parameters = json.loads((INFRA / "main.parameters.json").read_text())["parameters"]
    declared = template["parameters"]
    assert set(parameters) <= set(declared)
    required = {name for name, node in declared.items() if "defaultValue" not in node and not node.get("nullable")}
    assert required == {"environmentName", "location"}
    assert required <= set(parameters)
    kinds = {"object": dict, "array": list, "bool": bool, "int": int, "string": str}
    for name, entry in parameters.items():
        assert isinstance(entry["value"], kinds[resolve(template, declared[name])["type"]]), name
