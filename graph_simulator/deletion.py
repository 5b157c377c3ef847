"""Deleting and moving messages."""

from __future__ import annotations

from http import HTTPStatus

from graph_simulator import odata
from graph_simulator.errors import bad_request, no_such_item, no_such_segment
from graph_simulator.request import Request, Response
from graph_simulator.serialization import message_json


def delete(call: Request) -> Response:
    """DELETE messages/{id}: into Deleted Items, and from there for good."""
    odata.check_names(call.options, ())
    call.store.delete(call.message())
    return Response(HTTPStatus.NO_CONTENT)


def permanent_delete(call: Request) -> Response:
    """POST messages/{id}/permanentDelete, which the global cloud alone knows."""
    odata.check_names(call.options, ())
    if call.state.cloud != "global":
        raise no_such_segment("permanentDelete")
    call.store.purge(call.message())
    return Response(HTTPStatus.NO_CONTENT)


def move(call: Request) -> Response:
    """POST messages/{id}/move."""
    odata.check_names(call.options, ())
    # Graph's pages write destinationId, its own libraries DestinationId; it takes both.
    given = {name.lower(): value for name, value in call.json().items()}
    destination = given.get("destinationid")
    if not isinstance(destination, str) or not destination:
        raise bad_request("The value of the parameter 'DestinationId' is empty.", "ErrorInvalidParameter")
    message, folder = call.message(), call.store.folder(destination)
    if folder is None:
        raise no_such_item()
    call.store.move(message, folder)
    return Response(HTTPStatus.CREATED, message_json(message, immutable=call.preferences.immutable))
