"""The JSON of messages and folders in Graph's format."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from graph_simulator import mime
from graph_simulator.items import Folder, Message
from graph_simulator.mailbox_store import MailboxStore

SIZE = "Long 0xe08"
"""The id of the size property in responses, however the request spells it."""

_Fields = list[tuple[str, str]]


def _received(message: Message) -> str:
    return message.received.strftime("%Y-%m-%dT%H:%M:%SZ")


def _first_recipient(fields: _Fields, name: str) -> dict[str, Any] | None:
    return next(iter(mime.recipients(fields, name)), None)


_DEFAULT_PROPERTIES: dict[str, Callable[[Message, _Fields], Any]] = {
    "createdDateTime": lambda message, _: _received(message),
    "lastModifiedDateTime": lambda message, _: _received(message),
    "changeKey": lambda message, _: _change_key(message),
    "categories": lambda _message, _: [],
    "receivedDateTime": lambda message, _: _received(message),
    "sentDateTime": lambda message, fields: mime.sent_date(fields) or _received(message),
    "hasAttachments": lambda message, _: mime.has_attachments(message.content),
    "internetMessageId": lambda _, fields: mime.first_value(fields, "message-id"),
    "subject": lambda _, fields: mime.first_value(fields, "subject") or "",
    "bodyPreview": lambda _message, _: "",
    "importance": lambda _message, _: "normal",
    "parentFolderId": lambda message, _: message.folder.id,
    "conversationId": lambda message, _: "AAQkAGRl_" + message.id[-12:],
    "isRead": lambda message, _: message.is_read,
    "isDraft": lambda _message, _: False,
    "isDeliveryReceiptRequested": lambda _message, _: None,
    "isReadReceiptRequested": lambda _message, _: False,
    "inferenceClassification": lambda _message, _: "focused",
    "sender": lambda _, fields: _first_recipient(fields, "sender") or _first_recipient(fields, "from"),
    "from": lambda _, fields: _first_recipient(fields, "from"),
    "toRecipients": lambda _, fields: mime.recipients(fields, "to"),
    "ccRecipients": lambda _, fields: mime.recipients(fields, "cc"),
    "bccRecipients": lambda _, fields: mime.recipients(fields, "bcc"),
    "replyTo": lambda _, fields: mime.recipients(fields, "reply-to"),
    "flag": lambda _message, _: {"flagStatus": "notFlagged"},
    "body": lambda _message, _: {"contentType": "text", "content": ""},
}

_OPTIONAL_PROPERTIES: dict[str, Callable[[Message, _Fields], Any]] = {
    "internetMessageHeaders": lambda _, fields: [{"name": name, "value": value} for name, value in fields],
    "conversationIndex": lambda _message, _: None,
    "uniqueBody": lambda _message, _: None,
    "webLink": lambda _message, _: None,
}
"""Properties that are returned only if `$select` names them."""

MESSAGE_PROPERTIES = frozenset({"id", *_DEFAULT_PROPERTIES, *_OPTIONAL_PROPERTIES})

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
    """Return the JSON of a message.

    Args:
        message: the message.
        immutable: whether to use the immutable id.
        selected: the selected properties; None: the default properties.
        with_size: whether to include the size property.
    """
    fields = mime.header_fields(message.content)
    item: dict[str, Any] = {"@odata.etag": etag(message), "id": message.id_as(immutable=immutable)}
    for name in _DEFAULT_PROPERTIES if selected is None else selected:
        read = _DEFAULT_PROPERTIES.get(name) or _OPTIONAL_PROPERTIES.get(name)
        if read is not None:
            item[name] = read(message, fields)
    if with_size:
        item["singleValueExtendedProperties"] = [{"id": SIZE, "value": str(message.size)}]
    return item


def folder_json(store: MailboxStore, folder: Folder, selected: Collection[str] | None = None) -> dict[str, Any]:
    """Return the JSON of a folder, with its counts."""
    messages = list(store.messages_in(folder))
    item: dict[str, Any] = {
        "id": folder.id,
        "displayName": folder.name,
        "parentFolderId": (folder.parent or folder).id,
        "childFolderCount": len(store.children(folder)),
        "unreadItemCount": sum(not message.is_read for message in messages),
        "totalItemCount": len(messages),
        "sizeInBytes": sum(message.size for message in messages),
        "isHidden": folder.hidden,
    }
    return item if selected is None else {name: item[name] for name in item if name == "id" or name in selected}


def etag(message: Message) -> str:
    """Return the ETag, which changes with the message's version."""
    return f'W/"{_change_key(message)}"'


def _change_key(message: Message) -> str:
    return f"CQAAABYAAAC{message.order:08d}{message.version:04d}"
