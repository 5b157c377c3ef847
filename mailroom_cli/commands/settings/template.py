"""Write a commented local.settings.json to start from. Core Tools and Mailroom skip the comments in that file."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from mailroom_cli.commands.settings.reference import LOCAL_DEFAULTS, Setting, settings_of
from shared.config import MailProtocol, SignIn
from shared.config.presets import PRESETS, Preset

MAILBOX, ROUTE = "support", "helpdesk"
"""The names of the mailbox and the route in the file."""

STORE = "./mailroom-mail"
"""The folder of stored mail: beside the file, and named in .gitignore and .funcignore."""

_WIDTH = 112
_INDENT = "    "

_HEAD = """\
// Mailroom's settings on this machine. Mailroom and Azure Functions Core Tools skip the comments.
// A setting that begins with // is not set; it shows its default, or else an example.
// Fill in the empty settings. Then run mailroom settings --check, which reports errors, and mailroom check, which
// connects.
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
"""The values that are shown of settings without a default."""

_PASSWORD = frozenset({"username", "password", "shared_login"})
_OAUTH = ("tenant_id", "client_id", "client_secret")
_CERTIFICATE = frozenset({"certificate", "certificate_file", "certificate_password"})
_SERVER = frozenset({"protocol", "host", "port", "tls", "allow_plaintext"})
_GRAPH = frozenset({"graph_endpoint", "graph_webhook_url", "graph_client_state_key", "graph_subscription_minutes"})
_TOKENS = frozenset({"sign_in_authority"})


@dataclass(frozen=True, slots=True)
class _Kind:
    """The kind of the mailbox in the file.

    Attributes:
        preset: its preset, or None.
        protocol: how its mail is retrieved.
        oauth: the sign-in uses OAuth, not a password.
    """

    preset: Preset | None
    protocol: MailProtocol
    oauth: bool


def starting_file(preset: Preset | None = None) -> str:
    """Return the file's text: a mailbox and a route that takes its mail, with required values left empty.

    Args:
        preset: the mailbox's server; None: an IMAP server.
    """
    protocol = PRESETS[preset].protocol if preset is not None else MailProtocol.IMAP
    kind = _Kind(preset, protocol, oauth=preset is not None and preset.value.startswith("office365"))
    lines = [*_app_lines(kind), *_mailbox_lines(kind), *_route_lines()]
    lines += [
        "",
        *_comment("The language of the functions, for Core Tools. The last setting of the file has no comma."),
    ]
    lines += [_entry("FUNCTIONS_WORKER_RUNTIME", "python").removesuffix(",")]
    body = "\n".join(_INDENT + line if line else "" for line in lines)
    return f'{_HEAD}{{\n  "IsEncrypted": false,\n  "Values": {{\n{body}\n  }}\n}}\n'


def _app_lines(kind: _Kind) -> Iterator[str]:
    assigned = {
        "azurewebjobsstorage": f"folder:{STORE}",
        **{name.lower(): value for name, value in LOCAL_DEFAULTS.items()},
    }
    omitted = (frozenset() if kind.protocol is MailProtocol.GRAPH else _GRAPH) | (
        frozenset() if kind.oauth else _TOKENS
    )
    yield from _comment(f"folder:{STORE} needs no Azure. For func start: UseDevelopmentStorage=true, and Azurite.")
    for setting in settings_of("app"):
        if setting.field not in omitted:
            yield from _setting_lines(setting, "", assigned.get(setting.field))


def _mailbox_lines(kind: _Kind) -> Iterator[str]:
    oauth = {"sign_in": SignIn.CLIENT_SECRET.value, **dict.fromkeys(_OAUTH, "")}
    server = {"protocol": kind.protocol.value, "host": ""} if kind.preset is None else {"preset": kind.preset.value}
    assigned = {
        **server,
        "address": "",
        **(oauth if kind.oauth else {"password": ""}),
        # Until the setup works; the default deletes the mail.
        "after": "keep",
        "fallback": ROUTE,
    }
    omitted = _CERTIFICATE | (_PASSWORD if kind.oauth else oauth.keys())
    omitted |= {"preset"} if kind.preset is None else _SERVER
    if kind.protocol is MailProtocol.POP3:
        omitted |= {"folders"}
    yield ""
    yield from _comment(f"A mailbox, here called {MAILBOX}. For another, repeat these settings with its name.")
    yield from _comment(
        "Other ways to sign in, by a certificate or by the app's identity in Azure: docs/reference/settings.md."
    )
    described = {setting.field: setting for setting in settings_of("mailboxes") if setting.field not in omitted}
    # Settings with a value, or with an empty one to fill in, come first.
    for field in (*assigned, *(field for field in described if field not in assigned)):
        yield from _setting_lines(described[field], MAILBOX, assigned.get(field))


def _route_lines() -> Iterator[str]:
    yield ""
    yield from _comment(
        f"A route, here called {ROUTE}: it takes the mail for the mailbox's address, "
        "since it is the FALLBACK above. For other recipients, set ADDRESS, or add routes with other names."
    )
    for setting in settings_of("routes"):
        yield from _setting_lines(setting, ROUTE, {"mailbox": MAILBOX}.get(setting.field))


def _setting_lines(setting: Setting, owner: str, assigned: str | None) -> Iterator[str]:
    """Yield a setting's meaning, and the setting: with a value, or commented out."""
    meaning = setting.whole_meaning
    if setting.default and not setting.value:
        meaning += f" Default: {setting.default}."
    elif setting.default and assigned is not None and assigned != setting.default:
        meaning += f" Default: {setting.default}"
    yield from _comment(meaning)
    if assigned is not None:
        yield _entry(setting.key(owner), assigned)
    else:
        shown = setting.default if setting.value else EXAMPLES[setting.scope, setting.field]
        yield f"// {_entry(setting.key(owner), shown)}"


def _entry(name: str, value: str) -> str:
    return f"{json.dumps(name)}: {json.dumps(value)},"


def _comment(text: str) -> list[str]:
    return textwrap.wrap(
        text, _WIDTH, initial_indent="// ", subsequent_indent="// ", break_long_words=False, break_on_hyphens=False
    )
