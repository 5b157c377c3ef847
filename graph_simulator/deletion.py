"""Handlers that delete and move messages."""

from __future__ import annotations

from http import HTTPStatus

from graph_simulator import odata
from graph_simulator.errors import bad_request, no_such_item, no_such_segment
from graph_simulator.request import Request, Response
from graph_simulator.serialization import message_json


def delete(request: Request) -> Response:
    """Handle DELETE messages/{id}: move to Deleted Items, or delete from there permanently."""
    odata.check_names(request.options, ())
    request.store.delete(request.message())
    return Response(HTTPStatus.NO_CONTENT)


def permanent_delete(request: Request) -> Response:
    """Handle POST messages/{id}/permanentDelete, which only the global cloud has."""
    odata.check_names(request.options, ())
    if request.state.cloud != "global":
        raise no_such_segment("permanentDelete")
    request.store.purge(request.message())
    return Response(HTTPStatus.NO_CONTENT)


def move(request: Request) -> Response:
    """Handle POST messages/{id}/move."""
    odata.check_names(request.options, ())
    # Graph's documentation writes destinationId, its SDKs DestinationId; Graph accepts both.
    body = {name.lower(): value for name, value in request.json().items()}
    destination = body.get("destinationid")
    if not isinstance(destination, str) or not destination:
        raise bad_request("The value of the parameter 'DestinationId' is empty.", "ErrorInvalidParameter")
    message, folder = request.message(), request.store.folder(destination)
    if folder is None:
        raise no_such_item()
    request.store.move(message, folder)
    return Response(HTTPStatus.CREATED, message_json(message, immutable=request.preferences.immutable))
