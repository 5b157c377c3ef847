"""A sample app with HTTP functions."""

import json
import time
import typing

import azure.functions as func

app = func.FunctionApp()


@app.route(route="echo", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS)
def echo(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    """Return the request as JSON."""
    received = {
        "method": req.method,
        "url": req.url,
        "body": req.get_body().decode("latin-1"),
        "query": dict(req.params),
        "header": req.headers.get("X-Mixed-Case"),
        "trace": context.trace_context.trace_parent,
    }
    headers = {"X-Told": "yes", "Content-Length": "1"}
    return func.HttpResponse(json.dumps(received), status_code=202, headers=headers, mimetype="application/json")


@app.route(route="hook", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS)
@app.queue_output(arg_name="polls", queue_name="polls", connection="AzureWebJobsStorage")
def hook(req: func.HttpRequest, polls: func.Out[typing.List[str]]) -> func.HttpResponse:  # noqa: UP006  the engine refuses list[str]
    """Return a validation token as plain text, or put a message for each notification."""
    token = req.params.get("validationToken")
    if token:
        return func.HttpResponse(token, mimetype="text/plain")
    polls.set([str(item) for item in req.get_json()["value"]])
    return func.HttpResponse(status_code=202)


@app.route(route="items/{name}/{number:int}", methods=["GET", "DELETE"], auth_level=func.AuthLevel.ANONYMOUS)
def items(req: func.HttpRequest) -> str:
    """Return the route's parameters as text."""
    return f"{req.route_params['name']} {req.route_params['number']}"


@app.route(auth_level=func.AuthLevel.ANONYMOUS)
def broken(req: func.HttpRequest) -> func.HttpResponse:
    """Raise; its route is the function's name, and it accepts any method."""
    raise RuntimeError("a secret of the inside")


@app.route(route="guarded", methods=["GET"], auth_level=func.AuthLevel.FUNCTION)
def guarded(req: func.HttpRequest) -> func.HttpResponse:
    """Need a function key."""
    return func.HttpResponse("in")


@app.route(route="ruled", methods=["GET"], auth_level=func.AuthLevel.ADMIN)
def ruled(req: func.HttpRequest) -> func.HttpResponse:
    """Need an admin key."""
    return func.HttpResponse("in")


@app.route(route="slow", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
def slow(req: func.HttpRequest) -> func.HttpResponse:
    """Sleep before the response."""
    time.sleep(float(req.params["seconds"]))
    return func.HttpResponse("done")
