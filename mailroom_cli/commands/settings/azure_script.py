"""Write a file of settings as a script for Azure CLI. It holds no secret, and asks for each to put it into a vault."""

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

_FOR_CORE_TOOLS = "functions_worker_runtime"


@dataclass(frozen=True, slots=True)
class Target:
    """The names in Azure of where the settings go.

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
    """The content of a script.

    Attributes:
        target: where the settings go.
        settings: names and values of the function app's settings.
        secrets: commands that put a secret into the vault.
        notes: comments on what is left out, or has to be done otherwise.
    """

    target: Target
    settings: dict[str, str] = field(default_factory=dict)
    secrets: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def refer(self, key: str, secret: str) -> None:
        """Set a setting to a reference to a secret of the vault."""
        uri = f"https://{self.target.vault}.vault.azure.net/secrets/{secret}/"
        self.settings[key] = f"@Microsoft.KeyVault(SecretUri={uri})"


def script(values: Mapping[str, str], target: Target) -> str:
    """Return the script, for bash.

    Args:
        values: settings without errors.
        target: where they go.

    Returns:
        The script's text. Settings that Azure cannot have, and unknown ones that may be secret, are left out and named
        in a comment.

    Raises:
        ConfigurationError: the file of a certificate cannot be read.
    """
    content = _Script(target, settings={**LOCAL_DEFAULTS, **PLATFORM})
    names = {name.upper(): name for name in content.settings}
    for key, value in values.items():
        if not value.strip():
            continue
        if key.upper() in names:
            content.settings[names[key.upper()]] = value
        else:
            _add(content, key, value)
    return _text(content)


def secret_name(key: str) -> str:
    """Return a secret's name in the vault, of letters, digits and hyphens: `support-password` for support's PASSWORD.

    No two settings share a name: an underscore of a mailbox's name becomes two hyphens.
    """
    place = place_of(key)
    owner = [place[1].replace("_", "--")] if len(place) > 1 else []
    return "-".join([*owner, place[-1].replace("_", "-")])


def _add(content: _Script, key: str, value: str) -> None:
    setting = place_of(key)[-1]
    if place_of(key)[0] == APP_STORAGE:
        content.notes.append(f"{printable(key)} is left out: the function app has its own storage.")
    elif key.lower() == _FOR_CORE_TOOLS:
        pass  # the function app was created for Python, and some plans refuse the setting
    elif not is_ours(key):
        content.notes.append(f"{printable(key)} is left out: it is not Mailroom's, and may be a secret.")
    elif is_reference(value):
        content.settings[key] = value.strip()
    elif setting == "mail_storage" and _is_on_this_machine(value):
        content.notes.append(f"{key} is left out: it is on this machine. Without it, mail is in the app's own storage.")
    elif setting == "mail_storage" and value.strip().lower().startswith("https://"):
        content.settings[key] = value.strip()  # sign-in is by identity: the URL holds no key
    elif setting == "certificate_file":
        _add_certificate(content, key.rpartition("__")[0], Path(value.strip()))
    elif is_secret(key):
        content.refer(key, secret_name(key))
        command = "ask_lines" if "\n" in value.strip() else "ask"
        content.secrets.append(f"{command} {shlex.quote(key)} {secret_name(key)}")
    else:
        if setting == "ca_file":
            content.notes.append(f"{key}: deploy the file with the app, and give its path as it is there.")
        # az reads a value that begins with @ from a file; the app ignores the blank before it.
        content.settings[key] = " " * value.strip().startswith("@") + value.strip()


def _is_on_this_machine(storage: str) -> bool:
    return storage.strip().lower().startswith(("folder:", "usedevelopmentstorage"))


def _add_certificate(content: _Script, owner: str, file: Path) -> None:
    """Make the content of a certificate's file a secret: PEM text, or PFX in base64.

    Raises:
        ConfigurationError: the file cannot be read.
    """
    key = f"{owner}__CERTIFICATE"
    content.refer(key, secret_name(key))
    try:
        encoding = "utf-8" if PEM in file.read_bytes() else "base64"
    except OSError as error:
        # The check did not open the file if its password is a reference.
        raise ConfigurationError(f"{owner}__CERTIFICATE_FILE: cannot be read: {error.strerror}; correct it") from None
    content.secrets.append(f"put {secret_name(key)} {shlex.quote(str(file))} {encoding}")


def _text(content: _Script) -> str:
    target = content.target
    lines = [
        "#!/usr/bin/env bash",
        "# Sets up the settings of a function app; written by `mailroom settings --azure`. It holds no secret.",
        *(f"# {note}" for note in content.notes),
        "set -euo pipefail",
        "",
    ]
    if content.secrets:
        lines += [*_vault_functions(shlex.quote(target.vault)), "", *content.secrets, ""]
    pairs = [shlex.quote(f"{name}={value}") for name, value in content.settings.items()]
    lines += [
        "az functionapp config appsettings set --output none \\",
        f"  --resource-group {shlex.quote(target.group)} --name {shlex.quote(target.app)} --settings \\",
        *(f"  {pair} \\" for pair in pairs[:-1]),
        f"  {pairs[-1]}",
    ]
    return "\n".join(lines) + "\n"


def _vault_functions(vault: str) -> list[str]:
    """Return the script's functions. Without `--output none`, az prints the secret that it set."""
    text = f"""\
        # A secret goes from the keyboard to az in a file that only you can read: no list of processes shows it.
        secret=$(mktemp)
        trap 'rm -f "$secret"' EXIT
        put() {{  # name file encoding
          az keyvault secret set --vault-name {vault} --name "$1" --file "$2" --encoding "$3" --output none
        }}
        ask() {{  # setting name
          IFS= read -rsp "$1: " value && echo >&2
          [ -n "$value" ] || {{ echo "$1: nothing was entered" >&2; exit 1; }}
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
