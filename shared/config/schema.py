"""The settings as an operator writes them: each with its type, its default and what it means.

A setting's name is the field's in upper case, or its `title` where it is spelled otherwise. The reference is made from
these fields.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from shared.addresses import parse_address, parse_pattern, parse_route_address
from shared.config import parsers
from shared.config.model import (
    DEFAULT_MAX_MESSAGE_BYTES,
    GLOBAL_GRAPH,
    LONGEST_SUBSCRIPTION,
    LOOP_LIMIT,
    MAX_ATTACHMENTS,
    MAX_RECIPIENTS,
    PACE,
    SUBSCRIBED_PACE,
    After,
    MailProtocol,
    PlusAddressing,
    SignIn,
    Tls,
)
from shared.config.presets import Preset

_FEWEST, _MOST = 1, 1_000_000
_LONGEST_PACE = 24 * 60 * 60
_FEWEST_MINUTES = 45
_MOST_HOPS = 50

Truth = Annotated[bool, BeforeValidator(parsers.parse_boolean)]
Address = Annotated[str | None, BeforeValidator(parse_address)]
Addresses = Annotated[tuple[str, ...], BeforeValidator(parsers.split_list(parse_address))]
Patterns = Annotated[tuple[str, ...], BeforeValidator(parsers.split_list(parse_pattern))]
Texts = Annotated[tuple[str, ...], BeforeValidator(parsers.parse_list)]
Identifier = Annotated[str | None, BeforeValidator(parsers.parse_identifier)]
Schedule = Annotated[str, BeforeValidator(parsers.parse_schedule)]


class WrittenMailbox(BaseModel):
    """One mailbox: `MAILBOXES__<name>__<SETTING>`."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    preset: Annotated[Preset | None, BeforeValidator(parsers.parse_choice(Preset))] = Field(
        default=None, description="A well-known server; fills in PROTOCOL, HOST, PORT and TLS where they are not set."
    )
    protocol: Annotated[MailProtocol | None, BeforeValidator(parsers.parse_choice(MailProtocol))] = Field(
        default=None, description="How mail is collected: imap, pop3, or graph (Office 365)."
    )
    address: Address = Field(default=None, description="The mailbox's primary address.")
    host: Annotated[str | None, BeforeValidator(parsers.parse_host)] = Field(
        default=None, description="The mail server."
    )
    port: Annotated[int | None, BeforeValidator(parsers.parse_port)] = Field(
        default=None, description="The server's port. Default: the usual one for PROTOCOL and TLS."
    )
    tls: Annotated[Tls | None, BeforeValidator(parsers.parse_choice(Tls))] = Field(
        default=None, description="TLS from the first byte, after STARTTLS or STLS, or none. Default: implicit."
    )
    ca_file: Path | None = Field(
        default=None, description="A PEM file with certificates to trust besides the machine's own roots."
    )
    allow_plaintext: Truth = Field(
        default=False, description="Allow TLS=none for a host that is not loopback: password and mail go in the clear."
    )
    username: str | None = Field(default=None, description="The login for PASSWORD. Default: ADDRESS.")
    password: SecretStr | None = Field(default=None, description="The password, or app password.")
    sign_in: Annotated[SignIn | None, BeforeValidator(parsers.parse_choice(SignIn))] = Field(
        default=None,
        description="How to sign in. Default: told from which of the credentials are set; managed-identity, which "
        "needs none, has to be named.",
    )
    tenant_id: Identifier = Field(default=None, description="The tenant, for OAuth: its id or one of its domains.")
    client_id: Identifier = Field(
        default=None,
        description="The app registration's client id, for OAuth; or that of a user-assigned managed identity.",
    )
    client_secret: SecretStr | None = Field(default=None, description="The app registration's secret.")
    certificate: Annotated[SecretStr | None, BeforeValidator(parsers.parse_certificate)] = Field(
        default=None, description="The app registration's certificate and its private key: PEM text, or PFX in base64."
    )
    certificate_file: Path | None = Field(default=None, description="The same in a file, PEM or PFX.")
    certificate_password: SecretStr | None = Field(
        default=None, description="The password of the certificate's private key."
    )
    shared_mailbox: str | None = Field(
        default=None, description="The shared mailbox to open with this sign-in. With OAuth: its address."
    )
    shared_login: str | None = Field(
        default=None,
        description=r"The login for a shared mailbox, with {username} and {shared}. Default: {username}\{shared}.",
    )
    folders: Annotated[tuple[str, ...], BeforeValidator(parsers.parse_folders)] = Field(
        default=("INBOX",),
        description="The folders to collect, separated by ;. POP3 has INBOX alone. Graph: paths, as in INBOX/Orders.",
    )
    after: Annotated[parsers.Removal, BeforeValidator(parsers.parse_after)] = Field(
        default=parsers.Removal(After.DELETE),
        description="What happens to a message in the mailbox once it is stored: delete (for good, where the server "
        "can), trash (not POP3: moved to the deleted items), move:FOLDER (not POP3) or keep.",
    )
    since: Annotated[datetime | Literal["now"] | None, BeforeValidator(parsers.parse_since)] = Field(
        default=None,
        description="Take no mail from before this date or date-time (UTC), or from before first contact (now).",
    )
    poll_every: Annotated[int | None, BeforeValidator(parsers.parse_integer(1, _LONGEST_PACE))] = Field(
        default=None,
        description=f"Seconds from one look at the mailbox to the next. Default: {PACE}, or {SUBSCRIBED_PACE} while "
        "Graph notifies us of new mail.",
    )
    max_message_bytes: Annotated[int, BeforeValidator(parsers.parse_size)] = Field(
        default=DEFAULT_MAX_MESSAGE_BYTES, description="A larger message stays in the mailbox: bytes, or as in 150MB."
    )
    disable_after: Annotated[int, BeforeValidator(parsers.parse_integer(_FEWEST, _MOST))] = Field(
        default=10, description="Failures in a row after which the mailbox is disabled."
    )
    aliases: Addresses = Field(
        default=(),
        description="The mailbox's aliases, separated by ;. Mail whose To names ADDRESS, and whose delivery header "
        "names an alias, is routed by the alias. Default: each address that a route of this mailbox names.",
    )
    delivery_hints: Truth = Field(
        default=True,
        description="Route by delivery headers (X-Original-To, Delivered-To and others that the receiving server "
        "writes) mail to an alias, and mail whose To and Cc match no route.",
    )
    delivery_fields: Annotated[tuple[str, ...], BeforeValidator(parsers.parse_delivery_fields)] = Field(
        default=(),
        description="Further delivery headers, separated by ;, that count before all others. A header counts above "
        "the trusted Received line only; NAME! counts anywhere, if the provider removes it from outside mail.",
    )
    trusted_hops: Annotated[int, BeforeValidator(parsers.parse_integer(1, _MOST_HOPS))] = Field(
        default=1, description="How many Received lines, from the top, are of servers of our own."
    )
    received_by: Annotated[str | None, BeforeValidator(parsers.parse_host)] = Field(
        default=None, description="The by host that the last of these must name; otherwise nothing above it counts."
    )
    plus_addressing: Annotated[PlusAddressing, BeforeValidator(parsers.parse_choice(PlusAddressing))] = Field(
        default=PlusAddressing.MIXED,
        description="mixed: base+ref@domain matches base@domain too; off: it does not; "
        "only: mixed, and threads are found by the reference alone.",
    )
    fallback: Annotated[str | None, BeforeValidator(str.lower)] = Field(
        default=None, description="The route for mail to the primary address that no other route took."
    )
    blocked_senders: Patterns = Field(
        default=(), description="Addresses or *@domain, separated by ;, whose mail is recorded and goes nowhere else."
    )
    enabled: Truth = Field(default=True, description="false leaves the mailbox alone.")


class WrittenRoute(BaseModel):
    """One route: `ROUTES__<name>__<SETTING>`."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    mailbox: Annotated[str | None, BeforeValidator(str.lower)] = Field(
        default=None, description="The mailbox whose mail it routes. Default: every mailbox."
    )
    address: Annotated[str | None, BeforeValidator(parse_route_address)] = Field(
        default=None,
        description="The recipient it takes: an address, *@domain, or * (a wildcard route, for mail by Bcc).",
    )
    order: Annotated[int, BeforeValidator(parsers.parse_integer(-_MOST, _MOST))] = Field(
        default=100, description="The route with the smaller number is tried first; equal ones by name."
    )
    senders: Patterns = Field(
        default=(),
        description="Addresses or *@domain, separated by ;, that every address in a well-formed From must match.",
    )
    recipients: Patterns = Field(
        default=(), description="Addresses or *@domain, separated by ;, of which one must be in To or Cc."
    )
    subject_words: Texts = Field(default=(), description="Words, separated by ;, of which one must be in the subject.")
    attachment_types: Annotated[
        tuple[str, ...], BeforeValidator(parsers.split_list(lambda entry: entry.lower().lstrip("*.")))
    ] = Field(default=(), description="File extensions, separated by ;, of which one attachment must have one.")
    important: Truth = Field(default=False, description="Take only mail that is marked important.")
    folders: Annotated[tuple[str, ...], BeforeValidator(parsers.split_list(parsers.parse_folder))] = Field(
        default=(), description="The folders whose mail it takes, separated by ;. Empty or *: any."
    )
    enabled: Truth = Field(default=True, description="false: it takes nothing.")


class WrittenSettings(BaseSettings):
    """Everything. What the environment holds comes in as arguments, so that nothing else is looked at."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        case_sensitive=False,
        env_nested_delimiter="__",
        validate_default=False,
    )

    azurewebjobsstorage: SecretStr | None = Field(
        default=None,
        title="AzureWebJobsStorage",
        description="The app's own storage: a connection string, UseDevelopmentStorage=true, or folder:PATH; or in the "
        "host's identity form, as AzureWebJobsStorage__accountName and its like. A relative PATH is relative to the "
        "settings file.",
    )
    mail_storage: SecretStr | None = Field(
        default=None,
        description="Where mail and records are kept: a connection string, https://ACCOUNT.blob.core.windows.net, "
        "UseDevelopmentStorage=true, or folder:PATH, relative to the settings file. Default: the app's own storage.",
    )
    mail_container: Annotated[str, BeforeValidator(parsers.parse_container)] = Field(
        default="mail", description="The container of all mail."
    )
    store_mode: Annotated[int, BeforeValidator(parsers.parse_file_mode)] = Field(
        default=0o600,
        description="The mode of the files that are stored in a folder, in octal digits; folders get x wherever r is "
        "set (0640: 0750). Azure's storages have none. Default: 0600.",
    )
    poll_schedule: Schedule = Field(
        default="", description="When mailboxes are looked at: six fields, seconds first. Usual: 0 * * * * *"
    )
    poll_budget: Annotated[float, BeforeValidator(parsers.parse_seconds)] = Field(
        default=300, description="Seconds after which a poll stops and enqueues itself again."
    )
    loop_limit: Annotated[int, BeforeValidator(parsers.parse_integer(1, _MOST))] = Field(
        default=LOOP_LIMIT, description="Received lines after which a message is taken for one that goes in circles."
    )
    max_recipients: Annotated[int, BeforeValidator(parsers.parse_integer(1, _MOST))] = Field(
        default=MAX_RECIPIENTS,
        description="Recipients of one message that get a result, in the order of To and Cc. The others are listed in "
        "a record under unhandled/.",
    )
    max_attachments: Annotated[int, BeforeValidator(parsers.parse_integer(1, _MOST))] = Field(
        default=MAX_ATTACHMENTS,
        description="Attachments of one message that are stored as blobs of their own. The others share one ZIP file.",
    )
    sign_in_authority: Annotated[str, BeforeValidator(parsers.parse_authority)] = Field(
        default="https://login.microsoftonline.com", description="The token service's host; TENANT_ID follows it."
    )
    graph_endpoint: Annotated[str, BeforeValidator(parsers.parse_endpoint)] = Field(
        default=GLOBAL_GRAPH, description="Microsoft Graph, with its version; other clouds have other hosts."
    )
    graph_webhook_url: Annotated[str | None, BeforeValidator(parsers.parse_webhook)] = Field(
        default=None,
        description="The public address of the function graph_webhook, as in https://APP.azurewebsites.net/api/"
        "graph_webhook. Not set: Graph notifies nobody, and the clock alone collects.",
    )
    graph_client_state_key: Annotated[SecretStr | None, BeforeValidator(parsers.parse_keys)] = Field(
        default=None,
        description="The key that proves a notification to be meant for us: 32 random characters or more. Two, "
        "separated by ;, while the first takes over from the second.",
    )
    graph_subscription_minutes: Annotated[int, BeforeValidator(parsers.parse_integer(_FEWEST_MINUTES, _MOST))] = Field(
        default=LONGEST_SUBSCRIPTION,
        description="How long a subscription is asked for, in minutes; Graph's own maximum is taken where it is less.",
    )
    applicationinsights_connection_string: SecretStr | None = Field(
        default=None,
        description="Where telemetry goes, as Application Insights gives it out. Not set: logs alone tell.",
    )
    mailboxes: dict[str, WrittenMailbox] = Field(default_factory=dict, description="By name.")
    routes: dict[str, WrittenRoute] = Field(default_factory=dict, description="By name.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The arguments alone: the environment is read, filtered, by `reading`."""
        del settings_cls, env_settings, dotenv_settings, file_secret_settings
        return (init_settings,)


def setting_name(field_name: str, model: type[BaseModel] = WrittenSettings) -> str:
    """A field's setting as it is spelled."""
    return model.model_fields[field_name].title or field_name.upper()


SECRETS = frozenset(
    name
    for model in (WrittenMailbox, WrittenRoute, WrittenSettings)
    for name, field in model.model_fields.items()
    if SecretStr in getattr(field.annotation, "__args__", ())
)
"""The fields whose values are never shown, and never trimmed."""
