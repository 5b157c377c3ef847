"""Messages and folders as Graph writes them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from graph_simulator import mime
from graph_simulator.items import Folder, Message
from graph_simulator.mailbox_store import Store

SIZE = "Long 0xe08"
"""How Graph writes the name of the size property, whatever it was asked for as."""

_Fields = list[tuple[str, str]]


def _time(message: Message) -> str:
    return message.received.strftime("%Y-%m-%dT%H:%M:%SZ")


def _one(found: _Fields, name: str) -> dict[str, Any] | None:
    return next(iter(mime.people(found, name)), None)


_PLAIN: dict[str, Callable[[Message, _Fields], Any]] = {
    "createdDateTime": lambda message, _: _time(message),
    "lastModifiedDateTime": lambda message, _: _time(message),
    "changeKey": lambda message, _: _change_key(message),
    "categories": lambda _message, _: [],
    "receivedDateTime": lambda message, _: _time(message),
    "sentDateTime": lambda message, found: mime.date(found) or _time(message),
    "hasAttachments": lambda message, _: mime.has_attachments(message.content),
    "internetMessageId": lambda _, found: mime.first(found, "message-id"),
    "subject": lambda _, found: mime.first(found, "subject") or "",
    "bodyPreview": lambda _message, _: "",
    "importance": lambda _message, _: "normal",
    "parentFolderId": lambda message, _: message.folder.id,
    "conversationId": lambda message, _: "AAQkAGRl_" + message.id[-12:],
    "isRead": lambda message, _: message.is_read,
    "isDraft": lambda _message, _: False,
    "isDeliveryReceiptRequested": lambda _message, _: None,
    "isReadReceiptRequested": lambda _message, _: False,
    "inferenceClassification": lambda _message, _: "focused",
    "sender": lambda _, found: _one(found, "sender") or _one(found, "from"),
    "from": lambda _, found: _one(found, "from"),
    "toRecipients": lambda _, found: mime.people(found, "to"),
    "ccRecipients": lambda _, found: mime.people(found, "cc"),
    "bccRecipients": lambda _, found: mime.people(found, "bcc"),
    "replyTo": lambda _, found: mime.people(found, "reply-to"),
    "flag": lambda _message, _: {"flagStatus": "notFlagged"},
    "body": lambda _message, _: {"contentType": "text", "content": ""},
}

_ONLY_SELECTED: dict[str, Callable[[Message, _Fields], Any]] = {
    "internetMessageHeaders": lambda _, found: [{"name": name, "value": value} for name, value in found],
    "conversationIndex": lambda _message, _: None,
    "uniqueBody": lambda _message, _: None,
    "webLink": lambda _message, _: None,
}

MESSAGE_PROPERTIES = frozenset({"id", *_PLAIN, *_ONLY_SELECTED})

FOLDER_PROPERTIES = frozenset(
    {
        "id",
        "displayName",
        "parentFolderId",
        "childFolderCount",
        "unreadItemCount",
        "totalItemCount",
        "sizeInBytes",
        "isHidden",
    }
)


def message_json(
    message: Message, *, immutable: bool, selected: Collection[str] | None = None, with_size: bool = False
) -> dict[str, Any]:
    """One message.

    Args:
        message: which.
        immutable: the kind of id that was asked for.
        selected: the properties that were asked for; None: those that come unasked.
        with_size: whether the size property was asked for.
    """
    found = mime.fields(message.content)
    item: dict[str, Any] = {"@odata.etag": etag(message), "id": message.called(immutable=immutable)}
    for name in _PLAIN if selected is None else selected:
        make = _PLAIN.get(name) or _ONLY_SELECTED.get(name)
        if make is not None:
            item[name] = make(message, found)
    if with_size:
        item["singleValueExtendedProperties"] = [{"id": SIZE, "value": str(message.size)}]
    return item


def folder_json(store: Store, folder: Folder, selected: Collection[str] | None = None) -> dict[str, Any]:
    """One folder, with its counts."""
    messages = list(store.in_folder(folder))
    item: dict[str, Any] = {
        "id": folder.id,
        "displayName": folder.name,
        "parentFolderId": (folder.parent or folder).id,
        "childFolderCount": len(store.children(folder)),
        "unreadItemCount": sum(not each.is_read for each in messages),
        "totalItemCount": len(messages),
        "sizeInBytes": sum(each.size for each in messages),
        "isHidden": folder.hidden,
    }
    return item if selected is None else {name: item[name] for name in item if name == "id" or name in selected}


def etag(message: Message) -> str:
    """The tag that changes with the message."""
    return f'W/"{_change_key(message)}"'


def _change_key(message: Message) -> str:
    return f"CQAAABYAAAC{message.order:08d}{message.version:04d}"
