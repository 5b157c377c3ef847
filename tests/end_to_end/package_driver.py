"""Run the deployed package as the Functions host does. It is started in a virtual environment that has nothing else.

`test_package_path.py` starts this file in the unpacked package's folder. The package supplies the worker engine and all
other dependencies. Beside this file is a copy of `functions_host`, in place of Microsoft's host.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

sys.path.insert(0, str(Path.cwd()))

from functions_host.output_bindings import messages_by_queue
from functions_host.worker import Engine, InvocationResult
from functions_host.worker_messages import RpcHttp, TypedData
from shared.bootstrap import App, app
from shared.mailboxes.graph.client import GraphClient
from shared.mailboxes.graph.endpoint import GraphEndpoint
from shared.mailboxes.graph.requests import MailboxRequests, SubscriptionRequests
from shared.mailboxes.oauth.token_cache import TokenCache
from shared.observability.exporter import start
from shared.storage.base import QueueName

GRAPH = "office"
"""The Graph mailbox whose message is used for every request."""


class Functions:
    """The app's functions, on the package's worker engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.counts: dict[str, int] = {}

    async def run(self, name: str, **inputs: TypedData) -> InvocationResult:
        """Run a function and put its outputs on their queues.

        Raises:
            RuntimeError: the function raised.
        """
        function = self._engine.function(name)
        result = await self._engine.invoke(function, inputs)
        if result.error is not None:
            raise RuntimeError(f"{name}: {result.error}\n{result.error.trace}")
        self.counts[name] = self.counts.get(name, 0) + 1
        for queue, bodies in messages_by_queue(function, result.outputs, result.return_value).items():
            app().storage.queues[queue].put_many(bodies)
        return result

    async def run_timer(self, name: str) -> None:
        """Run a function with a timer trigger."""
        await self.run(name, timer=TypedData(json=json.dumps({"IsPastDue": False})))

    async def run_queues(self) -> None:
        """Run the functions with a queue trigger until the queues have no visible message."""
        triggers = {
            QueueName.POLLS: "poll_mailbox",
            QueueName.LIFECYCLE: "handle_lifecycle_event",
            QueueName.ROUTE_REQUESTS: "route_message",
        }
        while True:
            idle = True
            for queue, name in triggers.items():
                for item in await asyncio.to_thread(app().storage.queues[queue].receive, 16, hidden_for=60):
                    idle = False
                    await self.run(name, item=TypedData(string=item.body))
                    app().storage.queues[queue].delete(item)
            if idle:
                return


def serve(functions: Functions, port: int, loop: asyncio.AbstractEventLoop) -> ThreadingHTTPServer:
    """Serve the webhook, which Graph validates when a subscription is created."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            query = dict(parse_qsl(urlsplit(self.path).query))
            request = RpcHttp(
                method="POST", url=self.path, headers={}, params={}, query=query, body=TypedData(bytes=body)
            )
            run = functions.run("graph_webhook", req=TypedData(http=request))
            result = asyncio.run_coroutine_threadsafe(run, loop).result(30)
            assert result.return_value is not None
            http = result.return_value.http
            self.send_response(int(http.status_code))
            for name, value in http.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(http.body.bytes or str(http.body.string or "").encode())

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def send_every_request(built: App, message: str, webhook: str) -> list[str]:
    """Build and send every Graph request of the app, and return their names.

    Raises:
        KeyError: a request has a parameter that has no value here.
        GraphResponseError: Graph refused a request.
    """
    settings = built.settings.mailboxes[GRAPH]
    tokens = TokenCache(built.settings.sign_in_authority, built.settings.graph_endpoint)
    endpoint = GraphEndpoint(built.settings.graph_endpoint, built.settings.poll_budget)
    client = GraphClient(settings, tokens, endpoint, patience=20)
    user = f"{endpoint.url}/users/{settings.address}"
    values: dict[str, Any] = {
        "folder": "inbox",
        "name": "Inbox",
        "parent": None,
        "condition": None,
        "since": datetime.now(UTC) - timedelta(days=1),
        "page_size": 10,
        "skip": 0,
        "message": message,
        "resource": f"/users/{settings.address}/mailFolders('inbox')/messages",
        "url": webhook,
        "client_state": "state",
        "expires": datetime.now(UTC) + timedelta(hours=1),
    }
    sent: list[str] = []

    def send(method: Callable[..., Any], **changes: Any) -> Any:
        names = method.__code__.co_varnames[1 : method.__code__.co_argcount + method.__code__.co_kwonlyargcount]
        build = method(**{name: {**values, **changes}[name] for name in names})
        sent.append(method.__qualname__)

        async def read(response: Any) -> Any:
            content = await response.aread()
            return json.loads(content) if content.startswith(b"{") else content

        return client.run(client.send(build, read))

    try:
        mail, subscriptions = MailboxRequests(client, settings.address or ""), SubscriptionRequests(client)
        last = ("move", "delete", "delete_permanently")
        for name in [*sorted(_public(mail) - set(last)), *last]:
            method = getattr(mail, name)
            send(method, link=f"{user}/mailFolders/inbox/messages?$top=1", folder=_folder(name))
            if name == "folders_named":
                send(method, parent="inbox")
        values["subscription"] = send(subscriptions.create)["id"]
        for name in [*sorted(_public(subscriptions) - {"create", "delete"}), "delete"]:
            send(getattr(subscriptions, name), link=f"{endpoint.url}/subscriptions")
    finally:
        client.close()
    return sent


def _folder(request: str) -> str:
    return "archive" if request == "move" else "inbox"


def _public(requests: object) -> set[str]:
    return {name for name in vars(type(requests)) if not name.startswith("_")}


async def main(options: Mapping[str, Any]) -> None:
    """Drain and route everything, send every Graph request, and print a report as JSON."""
    engine = await Engine.start(Path.cwd())
    functions = Functions(engine)
    server = serve(functions, options["port"], asyncio.get_running_loop())
    await functions.run_timer("renew_subscriptions")
    await functions.run_timer("poll_timer")
    await functions.run_queues()
    await functions.run_timer("renew_subscriptions")
    await functions.run_timer("sweep")
    await functions.run_queues()
    webhook = f"http://127.0.0.1:{options['port']}/api/graph_webhook"
    sent = await asyncio.to_thread(send_every_request, app(), options["message"], webhook)
    server.shutdown()
    for module in options["modules"]:
        importlib.import_module(module)
    health = {name: app().health.get(name).last_error for name in app().settings.mailboxes}
    folders = {name: str(getattr(module, "__file__", None) or "") for name, module in sys.modules.items()}
    app().storage.close()
    engine.stop()
    report = {
        "functions": functions.counts,
        "requests": sent,
        "errors": health,
        "files": folders,
        "exports": start(None),
    }
    print("REPORT " + json.dumps(report))


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
