"""Writes docs/reference/settings.md, made of the fields that settings are read by, and of the bindings that name some.

`make docs` runs it; a test holds that the page is as it would write it.
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

<!-- Written by `make docs` from the code (tools/settings_reference.py); changes by hand are lost. -->

App settings, the same in Azure and in `local.settings.json`. Names are matched without case, and two that differ by
case alone are refused; lists are separated by `;`; an empty value is as if it were not set. Everything is checked at
start, and all faults are told at once, each with its setting and the remedy. What is wrong with one mailbox stops that
mailbox alone. What is wrong with a route stops nothing: mail is collected, and the mail that the route may take waits
to be routed until the setting is right: that of `MAILBOX` if the route has one, otherwise all.

```
mailroom settings --preset gmail-imap --output local.settings.json    a file to start from, with comments
mailroom settings --check                                             what is wrong with it; connects to nothing
mailroom settings --azure                                             a script that puts it into a function app
```

The script asks for each secret, puts it into a Key Vault, and a reference to it into the app:
`@Microsoft.KeyVault(SecretUri=…)`. Azure resolves references, this machine does not. **secret** stands at the settings
whose values are shown nowhere.
"""

_CHAPTERS: Final[dict[Scope, str]] = {
    "app": """
## The app

Scope: the whole app. Each stands once.
""",
    "mailboxes": """
## A mailbox

Scope: one mailbox. Each is named `MAILBOXES__<name>__<SETTING>`, as in `MAILBOXES__support__HOST`. A mailbox's name has
letters, digits and single underscores, a letter first, and 40 characters at most. [Permissions](permissions.md) and
[Office 365](../how-to/office365.md) say what servers ask for.
""",
    "routes": """
## A route

Scope: one route. Each is named `ROUTES__<name>__<SETTING>`, as in `ROUTES__sales__ADDRESS`; names are as those of
mailboxes. All conditions that are given must hold. Routes that are many, or change without a restart, stand in
[a file beside the mail](../how-to/routes.md).
""",
}

_PLATFORM = """
## Azure Functions

Not Mailroom's own: the host and its libraries read them. The templates in `infra/` and the script above set what is
needed.

| setting | value | meaning |
| --- | --- | --- |
"""

_OF_THE_PLATFORM: Final[Mapping[str, str]] = {
    "FUNCTIONS_WORKER_RUNTIME": "The functions' language. In `local.settings.json` alone: a function app "
    "has it from when it was made.",
    "PYTHON_THREADPOOL_THREAD_COUNT": "How many functions run at a time in one worker: [host.json](host.md).",
    "PYTHON_ENABLE_OPENTELEMETRY": "The worker gives us the host's trace: [telemetry](telemetry.md).",
    "AzureWebJobsStorage__accountName": "The account of the app's own storage, in place of a connection string.",
    "AzureWebJobsStorage__credential": "The host signs in to it by the app's identity.",
    "AzureWebJobsStorage__clientId": "The client id of a user-assigned identity, for the host.",
    "AZURE_CLIENT_ID": "The same, for `MAIL_STORAGE`.",
    "APPLICATIONINSIGHTS_AUTHENTICATION_STRING": "Telemetry is sent by the app's identity; for a user-assigned one "
    "`ClientId=…;` stands before it.",
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
"""TLS is a setting, and more often the thing itself."""


def named_by_bindings() -> dict[str, list[str]]:
    """The functions that cannot start without a setting, by the setting: their bindings have it between two `%`."""
    found: dict[str, list[str]] = {}
    # An app anew, since one gives its functions out once.
    for function in run_module("function_app")["app"].get_functions():
        for binding in function.get_bindings():
            for value in binding.get_dict_repr().values():
                for name in re.findall(r"%(\w+)%", str(value)):
                    found.setdefault(name, []).append(function.get_function_name())
    return found


def page() -> str:
    """The page's text."""
    return "".join([_HEAD, *(_chapter(scope) for scope in _CHAPTERS), _presets(), _platform()])


def _chapter(scope: Scope) -> str:
    return _CHAPTERS[scope] + "\n| setting | default | meaning |\n| --- | --- | --- |\n" + "".join(_rows(scope))


def _rows(scope: Scope) -> Iterator[str]:
    bindings = named_by_bindings() if scope == "app" else {}
    for setting in settings_of(scope):
        meaning = _code(setting.whole_meaning)
        if functions := bindings.get(setting.name):
            named = " and ".join(f"`{function}`" for function in functions)
            meaning = f"{meaning.rstrip('.')}. The binding of {named} names it: the function does not start without."
        yield _row(f"`{setting.name}`" + (" **secret**" if setting.secret else ""), _default(setting), meaning)


def _default(setting: Setting) -> str:
    if setting.name in LOCAL_DEFAULTS:
        return f"none in Azure; `{LOCAL_DEFAULTS[setting.name]}` here"
    return f"`{setting.default}`" if setting.value else _code(setting.default)


def _code(sentence: str) -> str:
    """A sentence with what is to be typed, or is typed elsewhere, as code."""
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
        "\n## Presets\n\nWhat `PRESET` stands for.\n\n| preset | `PROTOCOL` | `HOST` | `PORT` | `TLS` |\n"
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
