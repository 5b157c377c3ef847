"""A consumer of Mailroom's results, as a separate app: an Event Grid event makes each result a ticket."""  # noqa: INP001

from __future__ import annotations

import logging
import os
from functools import cache

import azure.functions as func
from azure.data.tables import TableClient
from azure.identity import DefaultAzureCredential
from azure.storage.blob import ContainerClient
from tickets import Tickets, path_of

app = func.FunctionApp()
log = logging.getLogger("consumer")


@app.event_grid_trigger(arg_name="event")
def on_result(event: func.EventGridEvent) -> None:
    """Create a ticket from a result. An exception makes Event Grid deliver the event again, with growing delays."""
    path = path_of(event.subject or "", os.environ.get("MAIL_CONTAINER", "mail"))
    if path is None:
        log.warning("ignored an event that names no result; narrow the filter of the Event Grid subscription")
        return
    made = tickets().make(path)
    log.info("%s: %s", path, "created a ticket" if made else "the ticket exists already")


@cache
def tickets() -> Tickets:
    """Open the container and the table at the first event.

    Both settings take an https address, to sign in by identity, or a connection string.

    Raises:
        KeyError: a setting is missing. Event Grid keeps the event.
    """
    container = os.environ.get("MAIL_CONTAINER", "mail")
    mail, table = os.environ["MAIL_STORAGE"], os.environ["TICKETS_STORAGE"]
    credential = DefaultAzureCredential() if "https://" in (mail[:8], table[:8]) else None
    if mail.startswith("https://"):
        results = ContainerClient(mail, container, credential=credential)
    else:
        results = ContainerClient.from_connection_string(mail, container)
    if table.startswith("https://"):
        made = TableClient(table, "tickets", credential=credential)
    else:
        made = TableClient.from_connection_string(table, "tickets")
    return Tickets(results, made)
