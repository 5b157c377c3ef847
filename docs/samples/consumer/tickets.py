"""Create one ticket per result, however often its event is delivered."""  # noqa: INP001

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass

from azure.core.exceptions import ResourceExistsError
from azure.data.tables import TableClient
from azure.storage.blob import ContainerClient

SCHEMA = "mailroom/result/1"
"""The only schema of results that this code supports."""

LONGEST = 1_000
"""Characters of a sender or a subject that a ticket stores: a property of a table entity holds 32,000."""


class SchemaUnknown(Exception):
    """A result has a schema that is newer than this code. Event Grid keeps the event until the code supports it."""


@dataclass(frozen=True, slots=True)
class Tickets:
    """A store of tickets, made from results.

    Attributes:
        results: Mailroom's container; read access is enough.
        made: the table of tickets, in a storage account of our own.
    """

    results: ContainerClient
    made: TableClient

    def make(self, path: str) -> bool:
        """Create the ticket of a result, and return False if it exists already.

        The ticket's key is made of message and recipient, and the ticket is only ever created. So the work and its
        record are one operation. An event that is delivered twice, concurrent events, and a crash after the work all
        lead to the same ticket. So does a reissued result, unless the ticket is lost. Work without a key of its own,
        such as sending an e-mail, needs the ticket first, with a state; then the creator of the ticket does the work.

        Args:
            path: the result's, in the container.

        Raises:
            SchemaUnknown: this code does not support the result's schema.
        """
        result = json.loads(self.results.download_blob(path).readall())
        if result["schema"] != SCHEMA:
            raise SchemaUnknown(f"{path} has the schema {result['schema']}, not {SCHEMA}")
        envelope = result["envelope"]
        senders = ", ".join(sender["address"] for sender in envelope["from"])
        ticket = {
            "PartitionKey": result["message"],
            "RowKey": hashlib.sha256(result["recipient"].encode()).hexdigest(),
            "result": path,
            "route": result["route"],
            "recipient": result["recipient"],
            "sender": senders[:LONGEST],
            "subject": envelope["subject"][:LONGEST],
            # Out-of-office notes, bounces and the like: to be filed, and never answered.
            "automatic": (result["automatic"] or {}).get("kind", ""),
            "text": result["paths"]["message"],
            "attachments": result["attachments"],
        }
        try:
            self.made.create_entity(ticket)
        except ResourceExistsError:
            return False
        return True


def path_of(subject: str, container: str) -> str | None:
    """Return the path of the result that an event's subject names, or None if it names no result of this container.

    The event's own URL is not used: only our own container is read, whatever an event says.
    """
    found = re.fullmatch(r"/blobServices/default/containers/([^/]+)/blobs/(routed/.+\.json)", subject)
    return found[2] if found is not None and found[1] == container else None
