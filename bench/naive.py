"""The script that a user would otherwise write: imaplib, `email` and azure-storage-blob.

It stores a message at most once: FETCH of RFC822 sets \\Seen, and a message that is seen is never fetched again. It has
no receipts, no duplicates, no routes and no retries.
"""

from __future__ import annotations

import email
import email.policy
import imaplib
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from email.message import EmailMessage
from typing import Any

from azure.storage.blob import ContainerClient, ContentSettings

from bench.peers import HOST

THREADS = 16


def one_by_one(port: int, username: str, password: str, connection_string: str) -> int:
    """Fetch, store and delete one message after the other."""
    with _container(connection_string) as container:
        return _drain(port, username, password, lambda uid, data: _store(container, uid, data))


def in_threads(port: int, username: str, password: str, connection_string: str) -> int:
    """Fetch one message after the other, and store them in sixteen threads."""
    with _container(connection_string) as container, ThreadPoolExecutor(THREADS) as pool:
        stored = []
        count = _drain(
            port, username, password, lambda uid, data: stored.append(pool.submit(_store, container, uid, data))
        )
        for upload in stored:
            upload.result()
    return count


def _container(connection_string: str) -> ContainerClient:
    container = ContainerClient.from_connection_string(connection_string, "naive")
    container.create_container()
    return container


def _drain(port: int, username: str, password: str, store: Callable[[str, bytes], object]) -> int:
    count = 0
    with imaplib.IMAP4(HOST, port) as client:
        client.login(username, password)
        client.select("INBOX")
        for uid in client.uid("SEARCH", "UNSEEN")[1][0].split():
            answer = client.uid("FETCH", uid, "(RFC822)")[1]
            store(uid.decode(), answer[0][1])
            client.uid("STORE", uid, "+FLAGS.SILENT", r"(\Deleted)")
            count += 1
        client.expunge()
    return count


def _store(container: ContainerClient, uid: str, data: bytes) -> None:
    """Store the raw message, its attachments, and a JSON document."""
    message = email.message_from_bytes(data, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    body = message.get_body(("plain", "html"))
    document: dict[str, Any] = {
        "from": str(message["from"]),
        "to": str(message["to"]),
        "subject": str(message["subject"]),
        "message_id": str(message["message-id"]),
        "text": body.get_content() if body is not None else "",
        "attachments": [],
    }
    container.upload_blob(f"{uid}/message.eml", data, overwrite=True)
    for number, part in enumerate(message.iter_attachments()):
        name = f"{uid}/attachments/{number}-{part.get_filename()}"
        container.upload_blob(
            name, part.get_content(), overwrite=True, content_settings=ContentSettings(part.get_content_type())
        )
        document["attachments"].append(name)
    container.upload_blob(f"{uid}/message.json", json.dumps(document).encode(), overwrite=True)
