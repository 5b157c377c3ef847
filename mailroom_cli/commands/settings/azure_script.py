"""A file of settings as a script for Azure CLI. No secret is in it: it asks for each, and puts it into a vault."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent

from mailroom_cli.commands.settings.reference import LOCAL_DEFAULTS, PLATFORM
from mailroom_cli.commands.settings.validate import is_ours, is_secret, place_of
from shared.config.certificates import PEM
from shared.config.env_keys import APP_STORAGE, is_reference
from shared.errors import ConfigurationError, printable

_FOR_THE_HOST_HERE = "functions_worker_runtime"


@dataclass(frozen=True, slots=True)
class Target:
    """Where the settings go: names in Azure.

    Attributes:
        group: the resource group.
        app: the function app.
        vault: the Key Vault.
    """

    group: str = "GROUP"
    app: str = "APP"
    vault: str = "VAULT"


@dataclass
class _Script:
    target: Target
    settings: dict[str, str] = field(default_factory=dict)
    secrets: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def refer(self, key: str, secret: str) -> None:
        uri = f"https://{self.target.vault}.vault.azure.net/secrets/{secret}/"
        self.settings[key] = f"@Microsoft.KeyVault(SecretUri={uri})"


def script(values: Mapping[str, str], target: Target) -> str:
    """The script, for bash.

    Args:
        values: settings that have no fault.
        target: where they go.

    Returns:
        Its text. What Azure cannot have, or what is unknown and may be a secret, is left out, and named in a comment.

    Raises:
        ConfigurationError: a certificate's file cannot be read.
    """
    made = _Script(target, settings={**LOCAL_DEFAULTS, **PLATFORM})
    upper = {name.upper(): name for name in made.settings}
    for key, value in values.items():
        if not value.strip():
            continue
        if key.upper() in upper:
            made.settings[upper[key.upper()]] = value
        else:
            _take(made, key, value)
    return _text(made)


def secret_name(key: str) -> str:
    """What a secret is called in the vault: letters, digits and hyphens; `support-password` for `support`'s PASSWORD.

    No two settings share one: an underscore of a mailbox's name is two hyphens.
    """
    place = place_of(key)
    owner = [place[1].replace("_", "--")] if len(place) > 1 else []
    return "-".join([*owner, place[-1].replace("_", "-")])


def _take(made: _Script, key: str, value: str) -> None:
    setting = place_of(key)[-1]
    if place_of(key)[0] == APP_STORAGE:
        made.notes.append(f"{printable(key)} is left out: the function app has its own storage.")
    elif key.lower() == _FOR_THE_HOST_HERE:
        pass  # the function app has been made for Python, and some plans refuse the setting
    elif not is_ours(key):
        made.notes.append(f"{printable(key)} is left out: it is not Mailroom's, and may be a secret.")
    elif is_reference(value):
        made.settings[key] = value.strip()
    elif setting == "mail_storage" and _of_this_machine(value):
        made.notes.append(f"{key} is left out: it is on this machine. Without it, mail is in the app's own storage.")
    elif setting == "mail_storage" and value.strip().lower().startswith("https://"):
        made.settings[key] = value.strip()  # sign-in is by identity: no key is in it
    elif setting == "certificate_file":
        _certificate(made, key.rpartition("__")[0], Path(value.strip()))
    elif is_secret(key):
        made.refer(key, secret_name(key))
        made.secrets.append(_asked(key, value))
    else:
        if setting == "ca_file":
            made.notes.append(f"{key}: deploy the file with the app, and give its path as it is there.")
        # az takes what begins with @ for a file to read; the blank before it is no part of the value.
        made.settings[key] = " " * value.strip().startswith("@") + value.strip()


def _of_this_machine(storage: str) -> bool:
    return storage.strip().lower().startswith(("folder:", "usedevelopmentstorage"))


def _certificate(made: _Script, owner: str, file: Path) -> None:
    """The file's content becomes a secret: PEM text, or PFX in base64.

    Raises:
        ConfigurationError: it cannot be read.
    """
    key = f"{owner}__CERTIFICATE"
    made.refer(key, secret_name(key))
    try:
        encoding = "utf-8" if PEM in file.read_bytes() else "base64"
    except OSError as error:
        # Its password is a reference, so that nobody has looked into it yet.
        raise ConfigurationError(f"{owner}__CERTIFICATE_FILE: cannot be read: {error.strerror}; correct it") from None
    made.secrets.append(f"put {secret_name(key)} {shlex.quote(str(file))} {encoding}")


def _asked(key: str, value: str) -> str:
    if "\n" in value.strip():
        return f"ask_lines {shlex.quote(key)} {secret_name(key)}"
    return f"ask {shlex.quote(key)} {secret_name(key)}"


def _text(made: _Script) -> str:
    target = made.target
    lines = [
        "#!/usr/bin/env bash",
        "# Puts settings into a function app, made by `mailroom settings --azure`. It holds no secret.",
        *(f"# {note}" for note in made.notes),
        "set -euo pipefail",
        "",
    ]
    if made.secrets:
        lines += [*_vault(shlex.quote(target.vault)), "", *made.secrets, ""]
    pairs = [shlex.quote(f"{name}={value}") for name, value in made.settings.items()]
    lines += [
        "az functionapp config appsettings set --output none \\",
        f"  --resource-group {shlex.quote(target.group)} --name {shlex.quote(target.app)} --settings \\",
        *(f"  {pair} \\" for pair in pairs[:-1]),
        f"  {pairs[-1]}",
    ]
    return "\n".join(lines) + "\n"


def _vault(vault: str) -> list[str]:
    """The script's functions. az writes out what it has set, unless it is told not to."""
    text = f"""\
        # A secret comes from the keyboard through a file that only you can read: no list of processes shows it.
        secret=$(mktemp)
        trap 'rm -f "$secret"' EXIT
        put() {{  # name file encoding
          az keyvault secret set --vault-name {vault} --name "$1" --file "$2" --encoding "$3" --output none
        }}
        ask() {{  # setting name
          IFS= read -rsp "$1: " value && echo >&2
          [ -n "$value" ] || {{ echo "$1: nothing was given" >&2; exit 1; }}
          printf %s "$value" > "$secret"
          unset value
          put "$2" "$secret" utf-8
        }}
        ask_lines() {{  # setting name
          echo "$1, in several lines; Ctrl+D ends it:" >&2
          cat > "$secret"
          put "$2" "$secret" utf-8
        }}"""
    return dedent(text).splitlines()
