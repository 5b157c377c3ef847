"""`mailroom settings add`: add a mailbox to a settings file, whose other text and comments stay as they are."""

from __future__ import annotations

import json
import os
import shlex
import sys
import tempfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import typer

from mailroom_cli.commands.settings.reference import LOCAL_DEFAULTS
from mailroom_cli.commands.settings.template import STORE
from mailroom_cli.commands.settings.validate import CheckedFile, check_file
from mailroom_cli.settings_file import DEFAULT_FILE, insert_values, load_settings_file
from mailroom_cli.terminal import note, say
from shared.config import MailProtocol, SignIn
from shared.config.env_keys import LONGEST_NAME, NAME, NAME_RULE
from shared.config.presets import PRESETS, Preset
from shared.errors import ConfigurationError, printable

_NEW_VALUES: Final = {
    "AzureWebJobsStorage": f"folder:{STORE}",
    "FUNCTIONS_WORKER_RUNTIME": "python",
    **LOCAL_DEFAULTS,
}
"""The settings of a new file."""

_SECRETS: Final = ("PASSWORD", "CLIENT_SECRET", "TENANT_ID", "CLIENT_ID")
"""The settings that may be left empty, to be filled in later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewMailbox:
    """A mailbox to add. An empty text means that the setting is not given.

    Attributes:
        name: its name, in lower case.
        preset: the name of a preset.
        protocol: `imap`, `pop3` or `graph`, without a preset.
        host: the server, without a preset.
        port: the server's port.
        address: the mailbox's address.
        username: the name to sign in with.
        folders: the folders to collect, separated by semicolons.
        after: the value of AFTER.
        route: the route that takes its mail.
        tenant_id: the tenant, for OAuth.
        client_id: the app registration, for OAuth.
        secret: the password, or the client secret for OAuth.
    """

    name: str
    preset: str = ""
    protocol: str = ""
    host: str = ""
    port: str = ""
    address: str = ""
    username: str = ""
    folders: str = ""
    after: str = ""
    route: str = ""
    tenant_id: str = ""
    client_id: str = ""
    secret: str = ""

    @property
    def uses_oauth(self) -> bool:
        """Whether it signs in by OAuth, and not by a password."""
        return self.protocol == MailProtocol.GRAPH or self.preset.startswith("office365")

    @property
    def needs_host(self) -> bool:
        """Whether the settings must name its server."""
        return not self.preset and self.protocol != MailProtocol.GRAPH

    def to_values(self, routes: Collection[str]) -> dict[str, str]:
        """Return the settings to add to a file that has these routes."""
        secret = "CLIENT_SECRET" if self.uses_oauth else "PASSWORD"
        oauth = {"SIGN_IN": SignIn.CLIENT_SECRET.value, "TENANT_ID": self.tenant_id, "CLIENT_ID": self.client_id}
        settings = {
            "PRESET": self.preset,
            "PROTOCOL": self.protocol,
            "HOST": self.host,
            "PORT": self.port,
            "ADDRESS": self.address,
            "USERNAME": self.username,
            **(oauth if self.uses_oauth else {}),
            secret: self.secret,
            "FOLDERS": self.folders,
            "AFTER": self.after,
            "FALLBACK": self.route,
        }
        # Empty secrets are written, to be filled in.
        values = {
            f"MAILBOXES__{self.name}__{key}": value for key, value in settings.items() if value or key in _SECRETS
        }
        if self.route and self.route not in routes:
            values[f"ROUTES__{self.route}__MAILBOX"] = self.name
        return values


def add_mailbox(file: Path, mailbox: NewMailbox, *, password_stdin: bool) -> int:
    """Add a mailbox to a settings file, and report what is wrong in the file. Return the exit status.

    Args:
        file: the file; it is created if it is missing.
        mailbox: the mailbox, as far as options describe it.
        password_stdin: read the secret from standard input.

    Raises:
        ConfigurationError: the file cannot be read or written, has this mailbox, or a value is missing or invalid.
            Nothing is written then.
    """
    for kind, name in (("mailbox", mailbox.name), ("route", mailbox.route or mailbox.name)):
        if not NAME.fullmatch(name) or len(name) > LONGEST_NAME:
            raise ConfigurationError(f"{printable(name) or 'an empty text'} is not a name of a {kind}; {NAME_RULE}")
    exists = file.exists()
    values = load_settings_file(file) if exists else _NEW_VALUES
    if any(key.lower().startswith(f"mailboxes__{mailbox.name}__") for key in values):
        raise ConfigurationError(f"{file} has a mailbox {mailbox.name} already; edit the file, or add another name")
    mailbox = _complete(mailbox, password_stdin=password_stdin)
    routes = {key.lower().split("__")[1] for key in values if key.lower().startswith("routes__")}
    added = mailbox.to_values(routes)
    text = file.read_text(encoding="utf-8-sig") if exists else _new_file()
    previous_errors = check_file(file).errors if exists else ()
    checked = _write(file, insert_values(text, added), previous_errors, added)
    say(f"mailbox {mailbox.name} is added to {file}")
    empty = [key for key, value in added.items() if not value]
    for key in empty:
        note(f"note  {key} is empty: fill it in")
    if mailbox.after == "keep":
        note(f"note  stored messages stay in the mailbox: MAILBOXES__{mailbox.name}__AFTER is keep")
    errors = [error for error in checked.errors if not error.startswith(tuple(f"{key}:" for key in empty))]
    for error in errors:
        say(f"WRONG {error}", err=True)
    option = "" if file == DEFAULT_FILE else f" --settings {shlex.quote(str(file))}"
    note(f"Next: mailroom check {mailbox.name}{option}")
    return 1 if errors else 0


def _complete(mailbox: NewMailbox, *, password_stdin: bool) -> NewMailbox:
    """Return a mailbox with the missing values: from a terminal, they are asked for.

    Raises:
        ConfigurationError: there is no terminal, and an option is missing.
    """
    asks = sys.stdin.isatty()
    if not mailbox.preset and not mailbox.protocol and asks:
        answer = _ask(f"Preset or protocol ({', '.join([*Preset, 'imap', 'pop3', 'graph'])})").lower()
        is_protocol = answer in list(MailProtocol)
        mailbox = replace(mailbox, protocol=answer if is_protocol else "", preset="" if is_protocol else answer)
    if mailbox.needs_host and mailbox.protocol and not mailbox.host and asks:
        mailbox = replace(mailbox, host=_ask("Server (its DNS name)"))
    if not mailbox.address and asks:
        mailbox = replace(mailbox, address=_ask("E-mail address"))
    missing = [*_missing(mailbox)]
    if missing:
        raise ConfigurationError(*missing)
    if mailbox.uses_oauth and asks:
        mailbox = replace(mailbox, tenant_id=mailbox.tenant_id or _ask("Tenant id (empty: later)", optional=True))
        mailbox = replace(mailbox, client_id=mailbox.client_id or _ask("Client id (empty: later)", optional=True))
    secret = ""
    if password_stdin:
        secret = sys.stdin.readline().rstrip("\r\n")
        if not secret:
            raise ConfigurationError("--password-stdin: standard input is empty; write the password to it")
    elif asks:
        question = "Client secret" if mailbox.uses_oauth else "Password"
        secret = _ask(f"{question} (not shown; empty: later)", optional=True, hide=True)
    return replace(mailbox, secret=secret)


def _missing(mailbox: NewMailbox) -> Iterator[str]:
    if not mailbox.preset and not mailbox.protocol:
        yield f"--preset or --protocol is missing; the presets are {', '.join(Preset)}"
    elif mailbox.preset and mailbox.preset not in PRESETS:
        yield f"--preset {mailbox.preset} is not a preset; use one of {', '.join(Preset)}"
    elif mailbox.needs_host and not mailbox.host:
        yield f"--host is missing: the server of {mailbox.name}"
    if not mailbox.address:
        yield f"--address is missing: the e-mail address of {mailbox.name}"


def _ask(question: str, *, optional: bool = False, hide: bool = False) -> str:
    answer = typer.prompt(question, default="" if optional else None, show_default=False, hide_input=hide, err=True)
    return str(answer).strip()


def _new_file() -> str:
    return json.dumps({"IsEncrypted": False, "Values": _NEW_VALUES}, indent=2) + "\n"


def _write(file: Path, text: str, previous_errors: Collection[str], added: Mapping[str, str]) -> CheckedFile:
    """Check a file's new text, and replace the file by it; only the owner can read the new file.

    Raises:
        ConfigurationError: an added setting is invalid, or the file cannot be written.
    """
    target = file.resolve()  # a symbolic link stays
    empty = tuple(f"{key}:" for key, value in added.items() if not value)
    try:
        # Beside the file: it replaces the file in one step. `mkstemp` creates it for the owner alone.
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        temporary = Path(name)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            checked = check_file(temporary)
            new_errors = [error for error in checked.errors if error not in previous_errors]
            refused = [error for error in new_errors if not error.startswith(empty)] if empty else new_errors
            if refused:
                raise ConfigurationError(*refused, "nothing is written")
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be written: {error.strerror}") from None
    return checked
