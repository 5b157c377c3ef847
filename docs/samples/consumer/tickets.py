"""Results become tickets: one each, however often it is asked for."""  # noqa: INP001

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass

from azure.core.exceptions import ResourceExistsError
from azure.data.tables import TableClient
from azure.storage.blob import ContainerClient

SCHEMA = "mailroom/result/1"
"""The only form of results that this code was written for."""

LONGEST = 1_000
"""Characters of a sender or a subject that a ticket takes: a property of a table's entity holds 32,000."""


class SchemaUnknown(Exception):
    """A result is of a form that came after this code. Event Grid keeps the event until the code knows it."""


@dataclass(frozen=True, slots=True)
class Tickets:
    """Makes tickets.

    Attributes:
        results: Mailroom's container; reading is enough.
        made: the tickets, in a storage of our own.
    """

    results: ContainerClient
    made: TableClient

    def make(self, path: str) -> bool:
        """Make the ticket of a result; False: it is there already.

        The ticket's key is made of message and recipient, and it is only ever created: the work and the note that it is
        done are one operation. An event that is delivered twice, two of them at once, and a crash after the work all
        end at the same ticket, and so does a result that an operator had written once more, unless the ticket is lost.
        Work without a key of its own, such as an e-mail that is sent, wants the ticket first, with a state, and then
        the work by whoever created it.

        Args:
            path: the result's, in the container.

        Raises:
            SchemaUnknown: it is of a form that this code does not know.
        """
        result = json.loads(self.results.download_blob(path).readall())
        if result["schema"] != SCHEMA:
            raise SchemaUnknown(f"{path} is of schema {result['schema']}, and not {SCHEMA}")
        envelope = result["envelope"]
        senders = ", ".join(one["address"] for one in envelope["from"])
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
    """The path of the result that an event's subject names; None if it names none of this container.

    The event's own URL is not used: what is read is in our container, whatever an event says.
    """
    found = re.fullmatch(r"/blobServices/default/containers/([^/]+)/blobs/(routed/.+\.json)", subject)
    return found[2] if found is not None and found[1] == container else None
