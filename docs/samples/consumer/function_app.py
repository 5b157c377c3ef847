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
    """Make a ticket of a result. What it raises makes Event Grid deliver the event again, later and later."""
    path = path_of(event.subject or "", os.environ.get("MAIL_CONTAINER", "mail"))
    if path is None:
        log.warning("an event that is of no result is ignored: the subscription's filter lets too much through")
        return
    made = tickets().make(path)
    log.info("%s: %s", path, "a new ticket" if made else "it has its ticket already")


@cache
def tickets() -> Tickets:
    """Opened at the first event. Both settings take an https address, for its identity, or a connection string.

    Raises:
        KeyError: a setting is missing. Event Grid keeps the event meanwhile.
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
