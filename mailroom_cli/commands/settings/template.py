"""A commented local.settings.json to start from. Core Tools skip comments in that file, as Mailroom does."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from mailroom_cli.commands.settings.reference import LOCAL_DEFAULTS, Setting, settings_of
from shared.config.model import MailProtocol, SignIn
from shared.config.presets import PRESETS, Preset

MAILBOX, ROUTE = "support", "helpdesk"
"""The names of the mailbox and the route that are begun."""

STORE = "./mailroom-mail"
"""Where mail is stored to begin with: beside the file, and named in .gitignore and .funcignore."""

_WIDTH = 112
_INDENT = "    "

_HEAD = """\
// Mailroom's settings on this machine. Comments are skipped, by Mailroom and by Azure Functions Core Tools alike.
// A setting that begins with // is not set; what stands in it is its default, or else an example.
// Fill in what is empty; then mailroom settings --check says what is wrong, and mailroom check tries it.
// All settings: docs/reference/settings.md
"""

EXAMPLES: Final = {
    ("app", "mail_storage"): "https://ACCOUNT.blob.core.windows.net",
    ("app", "store_mode"): "0640",
    ("app", "graph_webhook_url"): "https://APP.azurewebsites.net/api/graph_webhook",
    ("app", "graph_client_state_key"): "",
    ("app", "applicationinsights_connection_string"): "",
    ("mailboxes", "port"): "993",
    ("mailboxes", "ca_file"): "roots.pem",
    ("mailboxes", "username"): "support@example.com",
    ("mailboxes", "shared_mailbox"): "shared@example.com",
    ("mailboxes", "shared_login"): r"{username}\{shared}",
    ("mailboxes", "since"): "now",
    ("mailboxes", "poll_every"): "60",
    ("mailboxes", "aliases"): "sales@example.com;press@example.com",
    ("mailboxes", "delivery_fields"): "X-Alias!;X-Gm-Original-To",
    ("mailboxes", "received_by"): "mx.example.com",
    ("mailboxes", "blocked_senders"): "*@spam.example;robot@example.net",
    ("routes", "address"): "sales@example.com",
    ("routes", "senders"): "*@partner.example",
    ("routes", "recipients"): "sales@example.com",
    ("routes", "subject_words"): "invoice;reminder",
    ("routes", "attachment_types"): "pdf;xml",
    ("routes", "folders"): "INBOX",
}
"""What is shown of a setting that has no default to show."""

_PASSWORD = frozenset({"username", "password", "shared_login"})
_OAUTH = ("tenant_id", "client_id", "client_secret")
_CERTIFICATE = frozenset({"certificate", "certificate_file", "certificate_password"})
_SERVER = frozenset({"protocol", "host", "port", "tls", "allow_plaintext"})
_GRAPH = frozenset({"graph_endpoint", "graph_webhook_url", "graph_client_state_key", "graph_subscription_minutes"})
_TOKENS = frozenset({"sign_in_authority"})


@dataclass(frozen=True, slots=True)
class _Kind:
    """What kind of mailbox is begun.

    Attributes:
        preset: its preset, or None.
        protocol: how it is collected.
        oauth: it is signed in to by OAuth, not by a password.
    """

    preset: Preset | None
    protocol: MailProtocol
    oauth: bool


def starting_file(preset: Preset | None = None) -> str:
    """The file's text: a mailbox and a route that takes its mail, with what has to be filled in left empty.

    Args:
        preset: where the mailbox is; None: on an IMAP server.
    """
    protocol = PRESETS[preset].protocol if preset is not None else MailProtocol.IMAP
    kind = _Kind(preset, protocol, oauth=preset is not None and preset.value.startswith("office365"))
    lines = [*_of_the_app(kind), *_of_the_mailbox(kind), *_of_the_route()]
    lines += [
        "",
        *_comment("The language of the functions, for Core Tools. It is the last, so that it needs no comma."),
    ]
    lines += [_entry("FUNCTIONS_WORKER_RUNTIME", "python").removesuffix(",")]
    body = "\n".join(_INDENT + line if line else "" for line in lines)
    return f'{_HEAD}{{\n  "IsEncrypted": false,\n  "Values": {{\n{body}\n  }}\n}}\n'


def _of_the_app(kind: _Kind) -> Iterator[str]:
    live = {"azurewebjobsstorage": f"folder:{STORE}", **{name.lower(): value for name, value in LOCAL_DEFAULTS.items()}}
    apart = (frozenset() if kind.protocol is MailProtocol.GRAPH else _GRAPH) | (frozenset() if kind.oauth else _TOKENS)
    yield from _comment(f"folder:{STORE} needs no Azure. For func start: UseDevelopmentStorage=true, and Azurite.")
    for setting in settings_of("app"):
        if setting.field not in apart:
            yield from _told(setting, "", live.get(setting.field))


def _of_the_mailbox(kind: _Kind) -> Iterator[str]:
    oauth = {"sign_in": SignIn.CLIENT_SECRET.value, **dict.fromkeys(_OAUTH, "")}
    server = {"protocol": kind.protocol.value, "host": ""} if kind.preset is None else {"preset": kind.preset.value}
    live = {
        **server,
        "address": "",
        **(oauth if kind.oauth else {"password": ""}),
        # Until it is seen to work; the default takes the mail away.
        "after": "keep",
        "fallback": ROUTE,
    }
    apart = _CERTIFICATE | (_PASSWORD if kind.oauth else oauth.keys())
    apart |= {"preset"} if kind.preset is None else _SERVER
    if kind.protocol is MailProtocol.POP3:
        apart |= {"folders"}
    yield ""
    yield from _comment(f"A mailbox, here called {MAILBOX}. For another, give these settings once more, with its name.")
    yield from _comment(
        "Other ways to sign in, by a certificate or by the app's identity in Azure: docs/reference/settings.md."
    )
    described = {setting.field: setting for setting in settings_of("mailboxes") if setting.field not in apart}
    # What has to be filled in comes first.
    for field in (*live, *(field for field in described if field not in live)):
        yield from _told(described[field], MAILBOX, live.get(field))


def _of_the_route() -> Iterator[str]:
    yield ""
    yield from _comment(
        f"A route, here called {ROUTE}: with these two settings it takes what comes for the mailbox's own address, "
        "since it is the FALLBACK above. For other recipients, give ADDRESS, or routes with other names."
    )
    for setting in settings_of("routes"):
        yield from _told(setting, ROUTE, {"mailbox": MAILBOX}.get(setting.field))


def _told(setting: Setting, owner: str, live: str | None) -> Iterator[str]:
    """A setting's meaning, and the setting: with a value, or commented out."""
    meaning = setting.whole_meaning
    if setting.default and not setting.value:
        meaning += f" Default: {setting.default}."
    elif setting.default and live is not None and live != setting.default:
        meaning += f" Default: {setting.default}"
    yield from _comment(meaning)
    if live is not None:
        yield _entry(setting.key(owner), live)
    else:
        shown = setting.default if setting.value else EXAMPLES[setting.scope, setting.field]
        yield f"// {_entry(setting.key(owner), shown)}"


def _entry(name: str, value: str) -> str:
    return f"{json.dumps(name)}: {json.dumps(value)},"


def _comment(text: str) -> list[str]:
    return textwrap.wrap(
        text, _WIDTH, initial_indent="// ", subsequent_indent="// ", break_long_words=False, break_on_hyphens=False
    )
