"""What the rest of the app knows of the settings: frozen objects, checked as a whole before anybody sees them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple

from pydantic import SecretStr

from shared.addresses import normalise
from shared.config.secret_fingerprint import file_content, fingerprint
from shared.storage.location import StorageLocation

DEFAULT_MAX_MESSAGE_BYTES = 150 * 1024 * 1024

LOOP_LIMIT = 25
"""Hops that no message makes that arrives: servers give up at a few dozen themselves (RFC 5321 section 6.3)."""

MAX_RECIPIENTS = 200
"""Recipients of a message that get a result: more than people write to, and few enough to bound its cost."""

MAX_ATTACHMENTS = 200
"""Attachments of a message that are blobs of their own."""

PACE, SUBSCRIBED_PACE = 60, 15 * 60
"""Seconds between two looks at a mailbox; the second while Graph notifies us, since notifications get lost."""

GLOBAL_GRAPH = "https://graph.microsoft.com/v1.0"
LONGEST_SUBSCRIPTION = 4230
"""Minutes that a subscription to messages may last (Graph: subscription resource type, maximum length)."""


class MailProtocol(StrEnum):
    """How mail is collected."""

    IMAP = "imap"
    POP3 = "pop3"
    GRAPH = "graph"
    """Microsoft Graph over HTTPS: mailboxes of Office 365."""


class Tls(StrEnum):
    """How the connection is protected (rule 1.1)."""

    IMPLICIT = "implicit"
    STARTTLS = "starttls"
    NONE = "none"


class SignIn(StrEnum):
    """How the mailbox is signed in to (rule 1.4)."""

    PASSWORD = "password"  # noqa: S105  the name of a method, no password
    CLIENT_SECRET = "client-secret"  # noqa: S105  likewise
    CERTIFICATE = "certificate"
    MANAGED_IDENTITY = "managed-identity"
    """The app's own identity in Azure: no secret at all."""


class After(StrEnum):
    """What becomes of a message in the mailbox once it is stored (rule 1.3)."""

    DELETE = "delete"
    """Removed for good, where the server can."""
    TRASH = "trash"
    r"""Moved to the deleted items: Graph's `deleteditems`; IMAP's folder with the special use \Trash (RFC 6154)."""
    MOVE = "move"
    KEEP = "keep"


class PlusAddressing(StrEnum):
    """What the part of a local part after `+` means (rule 2.4)."""

    MIXED = "mixed"
    OFF = "off"
    ONLY = "only"


class DeliveryField(NamedTuple):
    """A delivery header that DELIVERY_FIELDS names.

    Attributes:
        name: in lower case.
        anywhere: the header counts wherever it is, not only above the trusted `Received`.
    """

    name: str
    anywhere: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MailboxSettings:
    """One mailbox, usable as it is. No secret is in its repr.

    Attributes:
        name: lower case.
        enabled: false leaves it alone.
        protocol: IMAP, POP3 or Microsoft Graph.
        address: the primary address, normalised.
        host: DNS name or IP address of the mail server; for Graph, of GRAPH_ENDPOINT.
        port: its port.
        tls: how the connection is protected.
        ca_file: PEM certificates to trust besides the machine's own.
        allow_plaintext: TLS `none` is meant for a host that is not loopback.
        sign_in: which of the credentials below are there.
        username: the login, where it is not the address.
        password: for `password`.
        tenant_id: for OAuth.
        client_id: for OAuth; for `managed-identity` that of a user-assigned one, or None.
        client_secret: for `client-secret`.
        certificate: for `certificate`: PEM text, or PFX in base64.
        certificate_file: the same in a file, PEM or PFX.
        certificate_password: of the private key in either.
        shared_mailbox: the mailbox to open with another's sign-in; normalised if it is an address.
        shared_login: the login's template for that, with `{username}` and `{shared}`.
        folders: what is collected; `INBOX` is spelled so.
        after: what becomes of a stored message.
        move_to: the folder for `move`, else None.
        since: no mail from before is taken (UTC); `now` counts from first contact; None: everything.
        poll_every: seconds from one look to the next.
        poll_every_subscribed: the same while Graph notifies us of new mail.
        max_message_bytes: a larger message is not downloaded.
        disable_after: failures in a row after which the mailbox is disabled.
        aliases: further addresses of the mailbox, normalised; empty: any address that a route of it names may be one.
        delivery_hints: mail is routed by delivery headers where To and Cc name an alias's mailbox, or match no route.
        delivery_fields: further delivery headers.
        trusted_hops: how many `Received` lines, from the top, are of servers of our own.
        received_by: the `by` host of the last of these, or None: any.
        plus_addressing: what plus addresses mean.
        fallback: the name of an enabled route of this mailbox or of all.
        blocked_senders: normalised addresses or `*@domain`.
    """

    name: str
    protocol: MailProtocol
    address: str
    host: str
    port: int
    enabled: bool = True
    tls: Tls = Tls.IMPLICIT
    ca_file: Path | None = None
    allow_plaintext: bool = False
    sign_in: SignIn = SignIn.PASSWORD
    username: str | None = None
    password: SecretStr | None = None
    tenant_id: str | None = None
    client_id: str | None = None
    client_secret: SecretStr | None = None
    certificate: SecretStr | None = None
    certificate_file: Path | None = None
    certificate_password: SecretStr | None = None
    shared_mailbox: str | None = None
    shared_login: str | None = None
    folders: tuple[str, ...] = ("INBOX",)
    after: After = After.DELETE
    move_to: str | None = None
    since: datetime | Literal["now"] | None = None
    poll_every: int = PACE
    poll_every_subscribed: int = SUBSCRIBED_PACE
    max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES
    disable_after: int = 10
    aliases: tuple[str, ...] = ()
    delivery_hints: bool = True
    delivery_fields: tuple[DeliveryField, ...] = ()
    trusted_hops: int = 1
    received_by: str | None = None
    plus_addressing: PlusAddressing = PlusAddressing.MIXED
    fallback: str | None = None
    blocked_senders: tuple[str, ...] = ()

    @property
    def login(self) -> str:
        r"""What is given to LOGIN or USER with a password: `primary\shared` for a shared mailbox (rule 1.5)."""
        username = self.username or self.address
        if self.shared_mailbox is None:
            return username
        parts = {"username": username, "shared": self.shared_mailbox}
        # In one pass, so that a brace in a name is not taken for a placeholder.
        return re.sub(r"\{(username|shared)\}", lambda m: parts[m[1]], self.shared_login or r"{username}\{shared}")

    @property
    def mailbox_address(self) -> str:
        """The address of the mailbox that is opened: `user=` of XOAUTH2, and the primary address for routing."""
        return (self.shared_mailbox and normalise(self.shared_mailbox)) or self.address

    @property
    def sign_in_fingerprint(self) -> str:
        """16 hex digits that change when where or how the mailbox is signed in to changes, secrets included.

        Derived slowly (scrypt), so that a weak password cannot be guessed from it; once a process.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteSettings:
    """One route (rules 3.1, 3.2), usable as it is. Its name and its mailbox's are lower case.

    Attributes:
        name: the route's name.
        mailbox: whose route it is; None: every mailbox's.
        address: a normalised address, `*@domain`, `*` (a wildcard route), or None (only a fallback).
        order: the smaller comes first.
        senders: normalised addresses or `*@domain`; empty: any.
        recipients: the same, over all recipients.
        subject_words: any of them; empty: any subject.
        attachment_types: extensions, lower case, without the dot; empty: no condition.
        important: take only what is marked important.
        folders: whose mail it takes; empty: any.
        enabled: false: it takes nothing.
    """

    name: str
    mailbox: str | None = None
    address: str | None = None
    order: int = 100
    senders: tuple[str, ...] = ()
    recipients: tuple[str, ...] = ()
    subject_words: tuple[str, ...] = ()
    attachment_types: tuple[str, ...] = ()
    important: bool = False
    folders: tuple[str, ...] = ()
    enabled: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class AppSettings:
    """All settings.

    Attributes:
        app_storage: queues and leases.
        mail_storage: blobs and records.
        mail_container: the container, or folder, of all mail.
        poll_schedule: six fields; empty if it is not set, since the host and not the app reads it.
        poll_budget: seconds after which a poll stops and enqueues itself again.
        loop_limit: `Received` lines after which a message goes in circles (rule 5.3).
        max_recipients: recipients of a message that get a result (rule 3.10).
        max_attachments: attachments of a message that are blobs of their own; the others share an archive.
        sign_in_authority: `https://host`, without a path.
        graph_endpoint: Microsoft Graph, with its version: `https://host/v1.0`.
        graph_webhook_url: the notification function's public address; None: nobody notifies us.
        graph_client_state_keys: what the proof in notifications is made with, the first, and checked with, all.
        graph_subscription_minutes: how long a subscription is asked for.
        telemetry: Application Insights's connection string; None: nothing is exported.
        mailboxes: by name, the usable ones, those with ENABLED=false included.
        faulty: the other ones' faults by name; each names the setting and the remedy.
        routes: by order, then name; those with ENABLED=false, and those of faulty mailboxes, included.
        fallbacks: the route that a mailbox names as FALLBACK, by mailbox, the faulty ones' included.
        route_faults: what is wrong with routes, by the mailbox whose mail waits for it; by "" if all mail does.
        wrong_routes: the names of the routes that are not among `routes` since something is wrong with them.
        warnings: what is allowed and looks like a mistake.
        secrets: values that no message may show.
    """

    app_storage: StorageLocation
    mail_storage: StorageLocation
    mail_container: str = "mail"
    poll_schedule: str = ""
    poll_budget: float = 300
    loop_limit: int = LOOP_LIMIT
    max_recipients: int = MAX_RECIPIENTS
    max_attachments: int = MAX_ATTACHMENTS
    sign_in_authority: str = "https://login.microsoftonline.com"
    graph_endpoint: str = GLOBAL_GRAPH
    graph_webhook_url: str | None = None
    graph_client_state_keys: tuple[SecretStr, ...] = ()
    graph_subscription_minutes: int = LONGEST_SUBSCRIPTION
    telemetry: SecretStr | None = None
    mailboxes: Mapping[str, MailboxSettings] = field(default_factory=lambda: MappingProxyType({}))
    faulty: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    routes: tuple[RouteSettings, ...] = ()
    fallbacks: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    route_faults: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    wrong_routes: frozenset[str] = frozenset()
    warnings: tuple[str, ...] = ()
    secrets: tuple[SecretStr, ...] = field(default=(), repr=False, compare=False)
