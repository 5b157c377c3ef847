"""The settings of a mailbox and of the app: each is declared here once, with its type, default, parser and meaning.

A field with a description is a setting. Its name is the field's in upper case, or the field's `title`. The other fields
are derived while the settings are read. A route is declared in `shared.routing.model`, the same way.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, get_args

from pydantic import ConfigDict, Field, SecretStr, SkipValidation
from pydantic.dataclasses import dataclass, is_pydantic_dataclass
from pydantic.fields import FieldInfo

from shared.addresses import normalise, parse_address
from shared.config import parsers
from shared.config.parsers import parse_choice
from shared.config.presets import GLOBAL_GRAPH, After, DeliveryField, MailProtocol, PlusAddressing, Preset, SignIn, Tls
from shared.config.secret_fingerprint import file_content, fingerprint
from shared.routing.model import Patterns, Route
from shared.setting_values import Boolean, LowerCase, from_text, list_of, parse_integer
from shared.storage.location import StorageLocation

DEFAULT_MAX_MESSAGE_BYTES = 150 * 1024 * 1024

LOOP_LIMIT = 25
"""More hops than a delivered message makes: servers give up at a few dozen themselves (RFC 5321 section 6.3)."""

MAX_RECIPIENTS = 200
"""Recipients of a message that get a result: more than people write to, and few enough to bound its cost."""

MAX_ATTACHMENTS = 200
"""Attachments of a message that are blobs of their own."""

POLL_INTERVAL, SUBSCRIBED_POLL_INTERVAL = 60, 15 * 60
"""Seconds between two polls of a mailbox, without and with Graph notifications, of which some get lost."""

LONGEST_SUBSCRIPTION = 10080
"""Minutes that a subscription to messages may last (Graph: subscription resource type, maximum length)."""

_LAST_PORT = 65535
_SHORTEST_SUBSCRIPTION = 45
_LONGEST_INTERVAL = 24 * 60 * 60
_LARGEST = 1_000_000
_MOST_HOPS = 50
_CONFIG = ConfigDict(extra="forbid", hide_input_in_errors=True)

Host = Annotated[str | None, from_text(parsers.parse_host)]
Identifier = Annotated[str | None, from_text(parsers.parse_identifier)]
Count = Annotated[int, from_text(parse_integer(1, _LARGEST))]


@dataclass(frozen=True, slots=True, kw_only=True, config=_CONFIG)
class MailboxSettings:
    """The settings of one mailbox, `MAILBOXES__<name>__<SETTING>`. Its repr holds no secret.

    Attributes:
        name: the mailbox's name in lower case.
        protocol: set, or the preset's.
        host: set, the preset's, or for Graph that of GRAPH_ENDPOINT.
        port: set, or the usual port of the protocol and TLS.
        sign_in: set, or determined by the credentials.
        move_to: the folder of AFTER=move:FOLDER; else None.
        since: `now` is the first contact with the mailbox; None: no limit.
        poll_every_subscribed: seconds between two polls while Graph sends notifications.
        shared_mailbox: normalised if it is an address.
        aliases: normalised; empty: any address that a route of the mailbox names may be one.
    """

    name: str
    preset: Annotated[Preset | None, from_text(parse_choice(Preset))] = Field(
        default=None, description="A well-known server; fills in PROTOCOL, HOST, PORT and TLS where they are not set."
    )
    protocol: Annotated[MailProtocol, from_text(parse_choice(MailProtocol))] = Field(
        description="How mail is retrieved: imap, pop3, or graph (Office 365)."
    )
    address: Annotated[str, from_text(parse_address)] = Field(description="The mailbox's primary address.")
    host: Annotated[str, from_text(parsers.parse_host)] = Field(description="The mail server.")
    port: Annotated[int, from_text(parse_integer(1, _LAST_PORT, "a port"))] = Field(
        description="The server's port. Default: the usual one for PROTOCOL and TLS."
    )
    tls: Annotated[Tls, from_text(parse_choice(Tls))] = Field(
        default=Tls.IMPLICIT,
        description="TLS from the first byte, after STARTTLS or STLS, or none. Default: implicit.",
    )
    ca_file: Path | None = Field(
        default=None, description="A PEM file with certificates to trust in addition to the machine's roots."
    )
    allow_plaintext: Boolean = Field(
        default=False, description="Allow TLS=none for a host that is not loopback: password and mail go in the clear."
    )
    username: str | None = Field(default=None, description="The login for PASSWORD. Default: ADDRESS.")
    password: SecretStr | None = Field(default=None, description="The password, or app password.")
    sign_in: Annotated[SignIn, from_text(parse_choice(SignIn))] = Field(
        default=SignIn.PASSWORD,
        description="How to sign in. Default: determined by the credentials that are set; managed-identity, which "
        "needs none, must be named.",
    )
    tenant_id: Identifier = Field(default=None, description="The tenant, for OAuth: its id or one of its domains.")
    client_id: Identifier = Field(
        default=None,
        description="The app registration's client id, for OAuth; or that of a user-assigned managed identity.",
    )
    client_secret: SecretStr | None = Field(default=None, description="The app registration's secret.")
    certificate: SecretStr | None = Field(
        default=None, description="The app registration's certificate and its private key: PEM text, or PFX in base64."
    )
    certificate_file: Path | None = Field(default=None, description="The same in a file, PEM or PFX.")
    certificate_password: SecretStr | None = Field(
        default=None, description="The password of the certificate's private key."
    )
    shared_mailbox: Annotated[str | None, from_text(lambda text: normalise(text) or text)] = Field(
        default=None, description="The shared mailbox to open with this sign-in. With OAuth: its address."
    )
    shared_login: str | None = Field(
        default=None,
        description=r"The login for a shared mailbox, with {username} and {shared}. Default: {username}\{shared}.",
    )
    folders: Annotated[tuple[str, ...], from_text(parsers.parse_folders)] = Field(
        default=("INBOX",),
        description="The folders to poll, separated by ;. POP3 has INBOX alone. Graph: paths, as in INBOX/Orders.",
    )
    after: Annotated[After, from_text(parsers.parse_after)] = Field(
        default=After.DELETE,
        description="What happens to a message in the mailbox once it is stored: delete (permanently, where the server "
        "can), trash (not POP3: moved to the deleted items), move:FOLDER (not POP3) or keep.",
    )
    move_to: str | None = None
    since: Annotated[datetime | Literal["now"] | None, from_text(parsers.parse_since)] = Field(
        default=None,
        description="Take no mail from before this date or date-time (UTC), or from before first contact (now).",
    )
    poll_every: Annotated[int, from_text(parse_integer(1, _LONGEST_INTERVAL))] = Field(
        default=POLL_INTERVAL,
        description=f"Seconds from one poll of the mailbox to the next. Default: {POLL_INTERVAL}, or "
        f"{SUBSCRIBED_POLL_INTERVAL} while Graph sends notifications of new mail.",
    )
    poll_every_subscribed: int = SUBSCRIBED_POLL_INTERVAL
    max_message_bytes: Annotated[int, from_text(parsers.parse_size)] = Field(
        default=DEFAULT_MAX_MESSAGE_BYTES, description="A larger message stays in the mailbox: bytes, or as in 150MB."
    )
    disable_after: Count = Field(default=10, description="Failures in a row after which the mailbox is disabled.")
    aliases: Annotated[tuple[str, ...], from_text(list_of(parse_address))] = Field(
        default=(),
        description="The mailbox's aliases, separated by ;. Mail whose To names ADDRESS, and whose delivery header "
        "names an alias, is routed by the alias. Default: each address that a route of this mailbox names.",
    )
    delivery_hints: Boolean = Field(
        default=True,
        description="Route by delivery headers (X-Original-To, Delivered-To and others that the receiving server "
        "writes) mail to an alias, and mail whose To and Cc match no route.",
    )
    delivery_fields: Annotated[tuple[DeliveryField, ...], from_text(parsers.parse_delivery_fields)] = Field(
        default=(),
        description="Further delivery headers, separated by ;, that count before all others. A header counts above "
        "the trusted Received line only; NAME! counts anywhere, if the provider removes it from outside mail.",
    )
    trusted_hops: Annotated[int, from_text(parse_integer(1, _MOST_HOPS))] = Field(
        default=1, description="How many Received lines, from the top, are written by your own servers."
    )
    received_by: Host = Field(
        default=None, description="The by host that the last of these must name; otherwise nothing above it counts."
    )
    plus_addressing: Annotated[PlusAddressing, from_text(parse_choice(PlusAddressing))] = Field(
        default=PlusAddressing.MIXED,
        description="mixed: base+ref@domain matches base@domain too; off: it does not; "
        "only: mixed, and threads are found by the reference alone.",
    )
    fallback: LowerCase = Field(
        default=None, description="The route for mail to the primary address that no other route took."
    )
    blocked_senders: Patterns = Field(
        default=(), description="Addresses or *@domain, separated by ;, whose mail is recorded but not routed."
    )
    enabled: Boolean = Field(default=True, description="false: the mailbox is not polled.")

    @property
    def login(self) -> str:
        r"""The name for LOGIN or USER with a password: `primary\shared` for a shared mailbox (rule 1.5)."""
        username = self.username or self.address
        if self.shared_mailbox is None:
            return username
        parts = {"username": username, "shared": self.shared_mailbox}
        # In one pass: a name may have braces, which are not a placeholder.
        return re.sub(r"\{(username|shared)\}", lambda m: parts[m[1]], self.shared_login or r"{username}\{shared}")

    @property
    def mailbox_address(self) -> str:
        """The address of the mailbox that is opened: `user=` of XOAUTH2, and the primary address for routing."""
        return (self.shared_mailbox and normalise(self.shared_mailbox)) or self.address

    @property
    def sign_in_fingerprint(self) -> str:
        """16 hex digits that change when the server, the login or a credential changes.

        They are derived slowly (scrypt), so that a weak password cannot be guessed from them, and once a process.
        """
        secrets = (self.password, self.client_secret, self.certificate, self.certificate_password)
        return fingerprint(
            self.name,
            (
                *(self.protocol, self.host, str(self.port), self.tls, str(self.ca_file or "")),
                *(self.sign_in, self.login, self.mailbox_address, self.tenant_id or "", self.client_id or ""),
                *(secret.get_secret_value() if secret is not None else "" for secret in secrets),
                file_content(self.certificate_file),
            ),
        )


MailboxErrors = Annotated[Mapping[str, tuple[str, ...]], SkipValidation]
"""Configuration errors by the name of the mailbox."""


def _empty_mapping() -> MappingProxyType[str, Any]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True, config=_CONFIG)
class AppSettings:
    """All settings.

    Attributes:
        app_storage: the storage of queues and leases.
        mail_storage: the storage of blobs and records.
        poll_schedule: empty if it is not set, since the Functions host reads it, not the app.
        graph_client_state_keys: notifications are proven with the first key, and verified with all.
        mailboxes: the valid mailboxes by name, those with ENABLED=false included.
        mailbox_errors: the configuration errors of the other mailboxes.
        routes: the valid routes by order, then name; disabled ones, and those of invalid mailboxes, included.
        fallbacks: the FALLBACK of each mailbox that sets it, invalid mailboxes included.
        route_errors: the configuration errors of routes, by the mailbox whose mail they hold; "" is all mail.
        invalid_routes: the names of the invalid routes.
        warnings: valid settings that look like a mistake.
        secrets: values that no message may show.
    """

    app_storage: StorageLocation = Field(
        title="AzureWebJobsStorage",
        description="The app's own storage: a connection string, UseDevelopmentStorage=true, or folder:PATH; or in the "
        "host's identity form, as AzureWebJobsStorage__accountName and its like. A relative PATH is relative to the "
        "settings file.",
    )
    mail_storage: Annotated[StorageLocation, from_text(parsers.parse_storage)] = Field(
        description="Where mail and records are stored: a connection string, https://ACCOUNT.blob.core.windows.net, "
        "UseDevelopmentStorage=true, or folder:PATH, relative to the settings file. Default: the app's own storage."
    )
    mail_container: Annotated[str, from_text(parsers.parse_container)] = Field(
        default="mail", description="The container of all mail."
    )
    store_mode: Annotated[int, from_text(parsers.parse_file_mode)] = Field(
        default=0o600,
        description="The mode of the files that are stored in a folder, in octal digits; folders get x wherever r is "
        "set (0640: 0750). Azure's storages have none. Default: 0600.",
    )
    poll_schedule: Annotated[str, from_text(parsers.parse_schedule)] = Field(
        default="", description="When mailboxes are polled: six fields, seconds first. Usual: 0 * * * * *"
    )
    poll_budget: Annotated[float, from_text(parsers.parse_seconds)] = Field(
        default=300, description="Seconds after which a poll stops and enqueues itself again."
    )
    loop_limit: Count = Field(
        default=LOOP_LIMIT, description="A message with more Received lines is treated as a mail loop."
    )
    max_recipients: Count = Field(
        default=MAX_RECIPIENTS,
        description="Recipients of one message that get a result, in the order of To and Cc. The others are listed in "
        "a record under unhandled/.",
    )
    max_attachments: Count = Field(
        default=MAX_ATTACHMENTS,
        description="Attachments of one message that are stored as blobs of their own. The others share one ZIP file.",
    )
    sign_in_authority: Annotated[str, from_text(parsers.parse_authority)] = Field(
        default="https://login.microsoftonline.com", description="The token service's host; TENANT_ID follows it."
    )
    graph_endpoint: Annotated[str, from_text(parsers.parse_endpoint)] = Field(
        default=GLOBAL_GRAPH, description="Microsoft Graph, with its version; other clouds have other hosts."
    )
    graph_webhook_url: Annotated[str | None, from_text(parsers.parse_webhook)] = Field(
        default=None,
        description="The public address of the function graph_webhook, as in https://APP.azurewebsites.net/api/"
        "graph_webhook. Not set: Graph sends no notifications, and only the timer polls.",
    )
    graph_client_state_keys: Annotated[tuple[SecretStr, ...], from_text(parsers.parse_keys)] = Field(
        default=(),
        title="GRAPH_CLIENT_STATE_KEY",
        description="The key that proves a notification to be meant for this app: 32 random characters or more. Two, "
        "separated by ;, while the first takes over from the second.",
    )
    graph_subscription_minutes: Annotated[int, from_text(parse_integer(_SHORTEST_SUBSCRIPTION, _LARGEST))] = Field(
        default=LONGEST_SUBSCRIPTION,
        description="The requested lifetime of a subscription, in minutes; Graph's maximum is used where it is less.",
    )
    telemetry: SecretStr | None = Field(
        default=None,
        title="APPLICATIONINSIGHTS_CONNECTION_STRING",
        description="The connection string of Application Insights. Not set: telemetry is not exported.",
    )
    mailboxes: Annotated[Mapping[str, MailboxSettings], SkipValidation] = field(default_factory=_empty_mapping)
    mailbox_errors: MailboxErrors = field(default_factory=_empty_mapping)
    routes: Annotated[tuple[Route, ...], SkipValidation] = ()
    fallbacks: Annotated[Mapping[str, str], SkipValidation] = field(default_factory=_empty_mapping)
    route_errors: MailboxErrors = field(default_factory=_empty_mapping)
    invalid_routes: frozenset[str] = frozenset()
    warnings: tuple[str, ...] = ()
    secrets: tuple[SecretStr, ...] = field(default=(), repr=False, compare=False)


Model = type[object]
"""`AppSettings`, `MailboxSettings` or `Route`."""

OWNED: Mapping[str, Model] = {"mailboxes": MailboxSettings, "routes": Route}
"""The models of which there may be several, by the word that their settings' names begin with, in lower case."""


class Declaration:
    """A setting that a model declares.

    Attributes:
        field: the model's field.
        name: the setting's name, for a mailbox or a route without its prefix.
        info: the field's type, parser, default and description.
    """

    def __init__(self, field_name: str, info: FieldInfo) -> None:
        self.field = field_name
        self.name = info.title or field_name.upper()
        self.info = info

    @property
    def is_secret(self) -> bool:
        """Whether the setting's value is never shown, and never trimmed."""
        return bool({SecretStr, StorageLocation} & set(_types(self.info.annotation)))


def _types(annotation: Any) -> list[Any]:
    return [annotation, *(inner for argument in get_args(annotation) for inner in _types(argument))]


def _declare(model: Model) -> Mapping[str, Declaration]:
    assert is_pydantic_dataclass(model)
    declared = [Declaration(name, info) for name, info in model.__pydantic_fields__.items() if info.description]
    return {declaration.name.lower(): declaration for declaration in declared}


_DECLARATIONS: Mapping[Model, Mapping[str, Declaration]] = {
    model: _declare(model) for model in (AppSettings, MailboxSettings, Route)
}


def declarations(model: Model) -> Mapping[str, Declaration]:
    """Return the settings that a model declares, in their order, by name in lower case."""
    return _DECLARATIONS[model]


SECRETS = frozenset(
    name for settings in _DECLARATIONS.values() for name, setting in settings.items() if setting.is_secret
)
"""The settings whose values are never shown, and never trimmed: their names in lower case, without prefix."""
