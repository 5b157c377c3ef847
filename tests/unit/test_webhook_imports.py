"""The webhook loads no SDK before it responds: Graph expects a response within a few seconds, cold start included."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from shared.graph_notifications.client_state import client_state, folder_token

ROOT = Path(__file__).resolve().parents[2]
OURS = (
    "shared",
    "mailroom_cli",
    "functions_host",
    "graph_simulator",
    "graph_webhook",
    "poll_timer",
    "route_message",
    "function_app",
)
HEAVY = (
    *("msgraph", "kiota", "httpx", "httpcore", "h2", "msal", "requests", "imapclient", "aiohttp"),
    *("azure.storage", "azure.data", "azure.identity", "azure.core", "azure.monitor"),
)
"""Prefixes of modules that must not be loaded."""

TELEMETRY = "opentelemetry"
"""Loaded by a thread that starts after the first response."""

KEY = "0123456789abcdef0123456789abcdef"
SETTINGS = {
    "AzureWebJobsStorage": "UseDevelopmentStorage=true",
    "GRAPH_WEBHOOK_URL": "https://app.example/api/graph_webhook",
    "GRAPH_CLIENT_STATE_KEY": KEY,
    "MAILBOXES__support__PRESET": "office365-graph",
    "MAILBOXES__support__ADDRESS": "support@example.com",
    "MAILBOXES__support__SIGN_IN": "managed-identity",
    "ROUTES__support__ADDRESS": "support@example.com",
}
NOTIFICATION = json.dumps({"value": [{"clientState": client_state(KEY, folder_token("support", "INBOX"))}]})

IMPORTING = "import graph_webhook"
ANSWERING = f"""
import graph_webhook
from shared.graph_notifications.webhook import webhook
answer = webhook().handle({NOTIFICATION.encode()!r}, None)
assert (answer.status, len(answer.polls)) == (202, 1), answer
assert webhook().handle(b"", "token").text == "token"
"""
CALLING = f"""
import asyncio, graph_webhook, azure.functions as func
from types import SimpleNamespace
polls = []
out = lambda kept: SimpleNamespace(set=kept.extend)
request = func.HttpRequest("POST", "https://app.example/api/graph_webhook", body={NOTIFICATION.encode()!r})
context = SimpleNamespace(trace_context=SimpleNamespace(trace_parent=""))
function = graph_webhook.graph_webhook.build().get_user_function()
answer = asyncio.run(function(request, out(polls), out([]), context))
assert (answer.status_code, len(polls)) == (202, 1), (answer.status_code, polls)
"""


def loaded_after(code: str, environment: Mapping[str, str]) -> list[str]:
    """Return the modules that a fresh process loaded while it ran some code."""
    ran = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", **environment},
    )
    assert ran.returncode == 0, ran.stderr
    result = json.loads(ran.stdout.splitlines()[-1])
    assert isinstance(result, list)
    return result


@pytest.mark.parametrize(
    ("code", "environment"),
    [(IMPORTING, {}), (ANSWERING, SETTINGS), (CALLING, SETTINGS)],
    ids=["importing", "answering", "the function"],
)
def test_a_fresh_process_answers_without_loading_an_sdk(code: str, environment: dict[str, str]) -> None:
    loaded = loaded_after(code, environment)
    assert "shared.graph_notifications.webhook" in loaded
    assert [name for name in loaded if name.startswith(HEAVY)] == []
    if code is not CALLING:
        assert [name for name in loaded if name.startswith(TELEMETRY)] == []


def test_a_loaded_sdk_is_detected() -> None:
    loaded = loaded_after("import graph_webhook, shared.mailboxes.oauth.msal_client", {})
    assert [name for name in loaded if name == "msal"] == ["msal"]


def file_of(module: str) -> Path | None:
    """Return the file of a module of the repository; None for other modules."""
    path = ROOT.joinpath(*module.split("."))
    return next((item for item in (path / "__init__.py", path.with_suffix(".py")) if item.is_file()), None)


def at_import(nodes: list[ast.stmt]) -> Iterator[str]:
    """Yield the imports that run with a module: not those in functions or for type checkers."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            yield from at_import(node.orelse)
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for _, value in ast.iter_fields(node):
                if isinstance(value, list):
                    yield from at_import([item for item in value if isinstance(item, ast.stmt)])
                    for item in value:
                        if isinstance(item, ast.ExceptHandler | ast.match_case):
                            yield from at_import(item.body)


def reached_from(start: str) -> dict[str, str]:
    """Return all modules that a module imports, directly or not, each with its importer."""
    importers = {start: ""}
    waiting = [start]
    while waiting:
        module = waiting.pop()
        path = file_of(module)
        if path is None:
            continue
        for name in at_import(ast.parse(path.read_text()).body):
            parts = name.split(".")
            for number in (".".join(parts[: count + 1]) for count in range(len(parts))):
                is_module = parts[0] not in OURS or file_of(number) is not None
                if is_module and number not in importers:
                    importers[number] = module
                    waiting += [number] if parts[0] in OURS else []
    return importers


def test_the_function_does_not_import_an_sdk_indirectly() -> None:
    importers = reached_from("graph_webhook")
    assert {
        "shared.graph_notifications.webhook",
        "shared.graph_notifications.notifications",
        "shared.config.loader",
        "shared.graph_notifications.client_state",
    } <= set(importers)
    assert {name: who for name, who in importers.items() if name.startswith((*HEAVY, TELEMETRY))} == {}
    assert not any(
        name.startswith(("shared.bootstrap", "shared.mailboxes", "mailroom_cli", "functions_host"))
        for name in importers
    )


def test_the_import_walk_finds_an_sdk() -> None:
    assert "msal" in reached_from("shared.mailboxes.oauth.msal_client")
    assert "httpx" in reached_from("shared.mailboxes.graph.mailbox")
    lines = "try:\n  import a\nexcept ImportError:\n  import b\nclass C:\n  import c\ndef f():\n  import d\n"
    typed = "if TYPE_CHECKING:\n  import e\nelse:\n  import g\nwith x:\n  from h import i\n"
    assert set(at_import(ast.parse(lines + typed).body)) == {"a", "b", "c", "g", "h", "h.i"}


def test_the_first_response_does_not_wait_for_certificates() -> None:
    """Each takes a tenth of a second, and an app may have dozens. The other functions validate them."""
    from shared.config import load_settings  # noqa: PLC0415

    values = {
        "AzureWebJobsStorage": "UseDevelopmentStorage=true",
        "MAILBOXES__support__PROTOCOL": "graph",
        "MAILBOXES__support__ADDRESS": "support@example.com",
        "MAILBOXES__support__TENANT_ID": "t",
        "MAILBOXES__support__CLIENT_ID": "c",
        "MAILBOXES__support__CERTIFICATE": "whatever it is",
    }
    assert set(load_settings(values, certificates=False).mailboxes) == {"support"}
    assert set(load_settings(values).mailbox_errors) == {"support"}
    source = (ROOT / "shared/graph_notifications/webhook.py").read_text()
    assert "load_settings(certificates=False, complete=False)" in source
