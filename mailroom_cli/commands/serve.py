"""`mailroom serve`: run the functions on this machine until stopped."""

from __future__ import annotations

from functions_host.http_server import HttpConfig
from functions_host.process import run_host
from mailroom_cli.app_context import storage_lines
from mailroom_cli.commands.run_once import ROOT
from mailroom_cli.terminal import say
from shared.bootstrap import App
from shared.observability.exporter import start


def serve_app(app: App, port: int) -> None:
    """Run timers, queues and HTTP until a signal ends the process.

    Args:
        app: the installed app, which the functions find.
        port: HTTP port on the loopback address.
    """

    def ready(http_port: int) -> None:
        for line in storage_lines(app.settings):
            say(line)
        names = ", ".join(app.settings.mailboxes) or "none"
        say(f"Serving; mailboxes: {names}; HTTP on 127.0.0.1:{http_port}. Ctrl-C stops.")

    app.release_dead()
    start(app.settings.telemetry)
    run_host(ROOT, app.storage, HttpConfig(port=port), ready=ready)
