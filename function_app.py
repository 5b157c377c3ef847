"""The function app: registers the blueprints, and nothing else."""

from __future__ import annotations

import azure.functions as func

from graph_webhook import blueprint as graph_webhook
from poll_timer import blueprint as poll_timer
from route_message import blueprint as route_message

app = func.FunctionApp()
app.register_functions(poll_timer)
app.register_functions(graph_webhook)
app.register_functions(route_message)
