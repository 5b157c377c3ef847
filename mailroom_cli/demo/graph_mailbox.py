"""The demonstration's Office 365: the stand-in for Microsoft Graph, with one mailbox and a sign-in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import trustme

from graph_simulator import GraphSimulator


@contextmanager
def graph_server(
    address: str, messages: Sequence[bytes], opaque: Sequence[bytes], folder: Path
) -> Iterator[dict[str, str]]:
    """A mailbox at a stand-in for Microsoft Graph, for as long as the context lasts.

    Args:
        address: the mailbox's.
        messages: what its inbox holds.
        opaque: what it holds and never gives out, as Graph does with encrypted mail.
        folder: where certificates are put.

    Yields:
        App settings, and those of a mailbox named `contracts`.
    """
    ca = trustme.CA()
    issued = ca.issue_cert("localhost")
    ca_file, certificate, key = folder / "ca.pem", folder / "server.pem", folder / "server.key"
    ca.cert_pem.write_to_path(ca_file)
    issued.cert_chain_pems[0].write_to_path(certificate)
    issued.private_key_pem.write_to_path(key)
    with GraphSimulator(certificate=certificate, key=key) as graph:
        app = graph.register(mailboxes={address})
        mailbox = graph.mailbox(address)
        for message in messages:
            mailbox.deliver(message)
        for message in opaque:
            mailbox.deliver(message, unconvertible=True)
        given = {
            "PROTOCOL": "graph",
            "ADDRESS": address,
            "TENANT_ID": graph.tenant,
            "CLIENT_ID": app.client_id,
            "CLIENT_SECRET": app.secret,
            "CA_FILE": str(ca_file),
        }
        yield {
            "SIGN_IN_AUTHORITY": graph.url,
            "GRAPH_ENDPOINT": graph.endpoint,
            **{f"MAILBOXES__contracts__{name}": value for name, value in given.items()},
        }
