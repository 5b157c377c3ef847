"""The requests that are made of Microsoft Graph, by the SDK's builders: what each asks for, and no more than it needs.

Every one prefers immutable ids (Graph: Get immutable identifiers for Outlook resources).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from kiota_abstractions.api_client_builder import register_default_serializer
from kiota_abstractions.base_request_configuration import RequestConfiguration
from kiota_serialization_json.json_serialization_writer_factory import JsonSerializationWriterFactory
from msgraph.generated.models.subscription import Subscription
from msgraph.generated.subscriptions.subscriptions_request_builder import SubscriptionsRequestBuilder
from msgraph.generated.users.item.mail_folders.item.child_folders.child_folders_request_builder import (
    ChildFoldersRequestBuilder,
)
from msgraph.generated.users.item.mail_folders.item.mail_folder_item_request_builder import MailFolderItemRequestBuilder
from msgraph.generated.users.item.mail_folders.item.messages.delta.delta_request_builder import DeltaRequestBuilder
from msgraph.generated.users.item.mail_folders.item.messages.messages_request_builder import MessagesRequestBuilder
from msgraph.generated.users.item.mail_folders.mail_folders_request_builder import MailFoldersRequestBuilder
from msgraph.generated.users.item.messages.item.message_item_request_builder import MessageItemRequestBuilder
from msgraph.generated.users.item.messages.item.move.move_post_request_body import MovePostRequestBody
from msgraph.generated.users.item.user_item_request_builder import UserItemRequestBuilder
from msgraph.generated.users.users_request_builder import UsersRequestBuilder

from shared.mailboxes.graph.client import Build, GraphClient

PAGES: Final = (1000, 100, 10)
"""Messages in one answer of a listing, to be tried in this order: 1000 is the maximum (Graph: list messages)."""

DELTA_PAGES: Final = (500, 100, 10)
"""The same for a round of changes."""

FOLDERS_PAGE: Final = 100

IMMUTABLE: Final = 'IdType="ImmutableId"'

SIZE_TAG: Final = 0x0E08
SIZE: Final = "singleValueExtendedProperties($filter=id eq 'Long 0x0E08')"
"""PidTagMessageSize ([MS-OXPROPS] 2.797): Graph has no property of its own for a message's size."""

LISTED: Final = ("id", "receivedDateTime")
TOLD: Final = ("id", "subject", "from", "toRecipients", "receivedDateTime", "internetMessageId")
"""What is asked of a message in a listing, and of one whose content cannot be had."""

ADDRESSES: Final = ("proxyAddresses", "mail", "userPrincipalName")
"""What is asked of a user (Graph: user resource type)."""

# What GraphServiceClient does when it is made, and we do not make one: it would load the builders of all of Graph.
register_default_serializer(JsonSerializationWriterFactory)


class MailboxRequests:
    """The requests about one mailbox.

    Args:
        client: whose adapter they go through.
        user: the mailbox's address.
    """

    def __init__(self, client: GraphClient, user: str) -> None:
        self._client = client
        self._user = UsersRequestBuilder(client.adapter, {}).by_user_id(user)

    def folder(self, folder: str) -> Build:
        """A folder by its id or well-known name: its name, and how many messages it holds."""
        query = MailFolderItemRequestBuilder.MailFolderItemRequestBuilderGetQueryParameters
        select = query(select=["id", "displayName", "totalItemCount"])
        return lambda: self._folder(folder).to_get_request_information(_configured(select))

    def folders_named(self, name: str, parent: str | None) -> Build:
        """The folders of a name under another, or at the top."""
        asked = f"displayName eq '{name.replace(chr(39), chr(39) * 2)}'"
        if parent is None:
            top = MailFoldersRequestBuilder.MailFoldersRequestBuilderGetQueryParameters
            query = top(filter=asked, select=["id", "displayName"], top=FOLDERS_PAGE)
            return lambda: self._user.mail_folders.to_get_request_information(_configured(query))
        child = ChildFoldersRequestBuilder.ChildFoldersRequestBuilderGetQueryParameters
        below = child(filter=asked, select=["id", "displayName"], top=FOLDERS_PAGE)
        return lambda: self._folder(parent).child_folders.to_get_request_information(_configured(below))

    def messages(self, folder: str, since: datetime | None, *, page: int, skip: int) -> Build:
        """A page of a folder's messages, oldest first, behind the first `skip`."""
        query = MessagesRequestBuilder.MessagesRequestBuilderGetQueryParameters(
            select=list(LISTED),
            # What is filtered by comes first in the order (Graph: list messages).
            orderby=["receivedDateTime"],
            filter=None if since is None else f"receivedDateTime ge {since.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
            expand=[SIZE],
            top=page,
            skip=skip or None,
        )
        return lambda: self._folder(folder).messages.to_get_request_information(_configured(query))

    def changes(self, folder: str, page: int) -> Build:
        """A folder's messages, as the beginning of a round of changes."""
        query = DeltaRequestBuilder.DeltaRequestBuilderGetQueryParameters(select=list(LISTED), expand=[SIZE])
        return lambda: self._folder(folder).messages.delta.to_get_request_information(_configured(query, page))

    def following(self, link: str, page: int | None = None) -> Build:
        """What a link of Graph's own leads to.

        Raises:
            ConnectionLost: it leads somewhere else.
        """
        self._client.check_origin(link)
        return lambda: self._user.messages.with_url(link).to_get_request_information(_configured(None, page))

    def content(self, message: str) -> Build:
        """A message as MIME."""
        return lambda: self._message(message).content.to_get_request_information(_configured())

    def told(self, message: str) -> Build:
        """What Graph tells of a message besides its content."""
        query = MessageItemRequestBuilder.MessageItemRequestBuilderGetQueryParameters(select=list(TOLD))
        return lambda: self._message(message).to_get_request_information(_configured(query))

    def exists(self, message: str) -> Build:
        """A message's id, if the message is in the mailbox."""
        query = MessageItemRequestBuilder.MessageItemRequestBuilderGetQueryParameters(select=["id"])
        return lambda: self._message(message).to_get_request_information(_configured(query))

    def addresses(self) -> Build:
        """The mailbox's addresses, out of the directory."""
        query = UserItemRequestBuilder.UserItemRequestBuilderGetQueryParameters(select=list(ADDRESSES))
        return lambda: self._user.to_get_request_information(_configured(query))

    def delete(self, message: str) -> Build:
        """To Deleted Items; out of Deleted Items, for good."""
        return lambda: self._message(message).to_delete_request_information(_configured())

    def delete_permanently(self, message: str) -> Build:
        """For good: to where no mail program finds it (Graph: message: permanentDelete)."""
        return lambda: self._message(message).permanent_delete.to_post_request_information(_configured())

    def move(self, message: str, folder: str) -> Build:
        """Into another folder of the mailbox, by its id or well-known name."""
        body = MovePostRequestBody(destination_id=folder)
        return lambda: self._message(message).move.to_post_request_information(body, _configured())

    def _folder(self, folder: str) -> Any:
        return self._user.mail_folders.by_mail_folder_id(folder)

    def _message(self, message: str) -> Any:
        return self._user.messages.by_message_id(message)


class SubscriptionRequests:
    """The requests about an app's subscriptions.

    Args:
        client: whose adapter they go through.
    """

    def __init__(self, client: GraphClient) -> None:
        self._client = client
        self._all = SubscriptionsRequestBuilder(client.adapter, {})

    def every(self) -> Build:
        """All that the app has."""
        return lambda: self._all.to_get_request_information(_configured())

    def following(self, link: str) -> Build:
        """The next page of them."""
        self._client.check_origin(link)
        return lambda: self._all.with_url(link).to_get_request_information(_configured())

    def create(self, *, resource: str, url: str, state: str, until: datetime) -> Build:
        """A new one, for messages that are created; lifecycle notifications come to the same address."""
        body = Subscription(
            change_type="created",
            notification_url=url,
            lifecycle_notification_url=url,
            resource=resource,
            expiration_date_time=until,
            client_state=state,
            latest_supported_tls_version="v1_2",
        )
        return lambda: self._all.to_post_request_information(body, _configured())

    def renew(self, subscription: str, until: datetime) -> Build:
        """A later end."""
        body = Subscription(expiration_date_time=until)
        return lambda: self._all.by_subscription_id(subscription).to_patch_request_information(body, _configured())

    def delete(self, subscription: str) -> Build:
        """No more of it."""
        return lambda: self._all.by_subscription_id(subscription).to_delete_request_information(_configured())


def items_of(answer: dict[str, Any]) -> Sequence[dict[str, Any]]:
    """The items of a page.

    Raises:
        TypeError: it has none, and is no page of Graph's.
    """
    items = answer["value"]
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise TypeError("a page without items")
    return items


def _configured(query: Any = None, page: int | None = None) -> RequestConfiguration[Any]:
    configuration: RequestConfiguration[Any] = RequestConfiguration(query_parameters=query)
    configuration.headers.add("Prefer", IMMUTABLE if page is None else f"{IMMUTABLE}, odata.maxpagesize={page}")
    return configuration
