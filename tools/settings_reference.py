"""Write docs/reference/settings.md from the fields that settings are read with, and from the bindings that name
settings.

`make docs` runs it. A test compares the page with what it would write.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from runpy import run_module
from typing import Final

from mailroom_cli.commands.settings.reference import LOCAL_DEFAULTS, PLATFORM, Scope, Setting, settings_of
from shared.config.presets import DEFAULT_PORTS, PRESETS

PAGE: Final = Path(__file__).resolve().parents[1] / "docs" / "reference" / "settings.md"

_HEAD = """\
# Settings

<!-- Written by `make docs` from the code (tools/settings_reference.py); manual changes are lost. -->

App settings, the same in Azure and in `local.settings.json`. Names are matched without case, and two
that differ by case alone are refused. Lists are separated by `;`. An empty value counts as not set.
All settings are checked at start, and all configuration errors are reported at once, each with the
setting's name and how to fix it. An error in a mailbox stops only that mailbox. An error in a route
stops nothing: mail is still stored, and the mail that the route may apply to waits to be routed
until the setting is right. That is the mail of `MAILBOX` if the route has one, otherwise all mail.

```
mailroom settings --preset gmail-imap --output local.settings.json    write a file to start from
mailroom settings --check                                             report all errors, offline
mailroom settings --azure                                             write a script for Azure CLI
```

The script asks for each secret, puts it into a Key Vault, and sets a reference to it in the app:
`@Microsoft.KeyVault(SecretUri=…)`. Azure resolves references, this machine does not. The values of
settings that are marked **secret** are never shown.
"""

_CHAPTERS: Final[dict[Scope, str]] = {
    "app": """
## The app

Scope: the whole app. Set each setting once.
""",
    "mailboxes": """
## A mailbox

Scope: one mailbox. Each setting is named `MAILBOXES__<name>__<SETTING>`, as in
`MAILBOXES__support__HOST`. A mailbox's name has letters, digits and single underscores, a letter
first, and 40 characters at most. [Permissions](permissions.md) and [Office 365](../how-to/office365.md)
describe what servers require.
""",
    "routes": """
## A route

Scope: one route. Each setting is named `ROUTES__<name>__<SETTING>`, as in `ROUTES__sales__ADDRESS`;
names follow the rules for mailboxes. All conditions that are set must hold. Put many routes, or
routes that change without a restart, into [a file beside the mail](../how-to/routes.md).
""",
}

_PLATFORM = """
## Azure Functions

Settings that the host and its libraries read. The templates in `infra/` and the script above set
the required ones.

| setting | value | meaning |
| --- | --- | --- |
"""

_OF_THE_PLATFORM: Final[Mapping[str, str]] = {
    "FUNCTIONS_WORKER_RUNTIME": "The functions' language. Only in `local.settings.json`: a function app "
    "has it since it was created.",
    "PYTHON_THREADPOOL_THREAD_COUNT": "How many functions run at a time in one worker: [host.json](host.md).",
    "FUNCTIONS_WORKER_PROCESS_COUNT": "How many processes route messages into a folder on this machine, 1 to 10; "
    "default: one more than cores, up to 5. [Worker processes](host.md#worker-processes).",
    "PYTHON_ENABLE_OPENTELEMETRY": "The worker passes the host's trace on to the app: [telemetry](telemetry.md).",
    "AzureWebJobsStorage__accountName": "The account of the app's own storage, in place of a connection string.",
    "AzureWebJobsStorage__credential": "The host signs in to it by the app's identity.",
    "AzureWebJobsStorage__clientId": "The client id of a user-assigned identity, for the host.",
    "AZURE_CLIENT_ID": "The same, for `MAIL_STORAGE`.",
    "APPLICATIONINSIGHTS_AUTHENTICATION_STRING": "Telemetry is sent by the app's identity; for a user-assigned one "
    "`ClientId=…;` precedes it.",
}
_VALUES = {
    **PLATFORM,
    "FUNCTIONS_WORKER_RUNTIME": "python",
    "AzureWebJobsStorage__credential": "managedidentity",
    "APPLICATIONINSIGHTS_AUTHENTICATION_STRING": "Authorization=AAD",
}


_NAMES = sorted(
    {setting.name for scope in _CHAPTERS for setting in settings_of(scope)} - {"TLS"}, key=len, reverse=True
)
_HYPHENATED = [
    choice for scope in _CHAPTERS for setting in settings_of(scope) for choice in setting.choices if "-" in choice
]
_TYPED = re.compile(
    r"https://[^\s,;]*\w|\{username\}(?:\\\{shared\})?|\{shared\}|\*@domain|folder:PATH|move:FOLDER|INBOX/Orders"
    r"|0(?: \*){5}|UseDevelopmentStorage=true|AzureWebJobsStorage\w*|TLS=none|\bgraph_webhook\b|(?<=by );|\*(?=[ .])"
    rf"|\b(?:{'|'.join([*_NAMES, *_HYPHENATED])})\b"
)
"""Texts that are code. TLS alone is not: it is a setting, but mostly means the protocol."""


def named_by_bindings() -> dict[str, list[str]]:
    """Return the functions that cannot start without a setting, by setting: their bindings have it between two `%`."""
    functions: dict[str, list[str]] = {}
    # A new app: an app returns its functions once.
    for function in run_module("function_app")["app"].get_functions():
        for binding in function.get_bindings():
            for value in binding.get_dict_repr().values():
                for name in re.findall(r"%(\w+)%", str(value)):
                    functions.setdefault(name, []).append(function.get_function_name())
    return functions


def page() -> str:
    """Return the page's text."""
    return "".join([_HEAD, *(_chapter(scope) for scope in _CHAPTERS), _presets(), _platform()])


def _chapter(scope: Scope) -> str:
    return _CHAPTERS[scope] + "\n| setting | default | meaning |\n| --- | --- | --- |\n" + "".join(_rows(scope))


def _rows(scope: Scope) -> Iterator[str]:
    bindings = named_by_bindings() if scope == "app" else {}
    for setting in settings_of(scope):
        meaning = _code(setting.whole_meaning)
        if functions := bindings.get(setting.name):
            named = " and ".join(f"`{function}`" for function in functions)
            meaning = f"{meaning.rstrip('.')}. The binding of {named} names it: the function does not start without it."
        yield _row(f"`{setting.name}`" + (" **secret**" if setting.secret else ""), _default(setting), meaning)


def _default(setting: Setting) -> str:
    if setting.name in LOCAL_DEFAULTS:
        return f"none in Azure; `{LOCAL_DEFAULTS[setting.name]}` here"
    return f"`{setting.default}`" if setting.value else _code(setting.default)


def _code(sentence: str) -> str:
    """Return a sentence with the settings, values and paths in it as code."""
    return _TYPED.sub(r"`\g<0>`", sentence)


def _presets() -> str:
    rows = [
        _row(
            f"`{preset}`",
            f"`{server.protocol}`",
            "that of `GRAPH_ENDPOINT`" if server.host is None else f"`{server.host}`",
            str(DEFAULT_PORTS[server.protocol, server.tls]),
            f"`{server.tls}`",
        )
        for preset, server in PRESETS.items()
    ]
    return (
        "\n## Presets\n\nThe servers that `PRESET` names.\n\n| preset | `PROTOCOL` | `HOST` | `PORT` | `TLS` |\n"
        "| --- | --- | --- | --- | --- |\n" + "".join(rows)
    )


def _platform() -> str:
    rows = (
        _row(f"`{name}`", f"`{_VALUES[name]}`" if name in _VALUES else "", meaning)
        for name, meaning in _OF_THE_PLATFORM.items()
    )
    return _PLATFORM + "".join(rows)


def _row(*cells: str) -> str:
    return "".join(f"| {cell.replace('|', '&#124;')} " for cell in cells) + "|\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
