"""Microsoft Graph requests, made by the SDK's builders, each limited to the properties that Mailroom uses.

Every request prefers immutable ids (Graph: Get immutable identifiers for Outlook resources).
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

PAGE_SIZES: Final = (1000, 100, 10)
"""Page sizes of a listing, in the order in which they are tried; 1000 is the maximum (Graph: list messages)."""

DELTA_PAGE_SIZES: Final = (500, 100, 10)
"""Page sizes of a delta query, in the order in which they are tried."""

FOLDER_PAGE_SIZE: Final = 100

IMMUTABLE: Final = 'IdType="ImmutableId"'

SIZE_TAG: Final = 0x0E08
SIZE: Final = "singleValueExtendedProperties($filter=id eq 'Long 0x0E08')"
"""PidTagMessageSize ([MS-OXPROPS] 2.797): Graph does not have a property for a message's size."""

LISTED: Final = ("id", "receivedDateTime")
"""Properties of a message in a listing."""

PROPERTIES: Final = ("id", "subject", "from", "toRecipients", "receivedDateTime", "internetMessageId")
"""Properties of a message whose content Graph refuses."""

ADDRESSES: Final = ("proxyAddresses", "mail", "userPrincipalName")
"""Properties of a user that hold addresses (Graph: user resource type)."""

# `GraphServiceClient` does this when it is created. Creating one would load the builders of all of Graph.
register_default_serializer(JsonSerializationWriterFactory)


class MailboxRequests:
    """Request builders for one mailbox. Each method returns a function that builds the request.

    Args:
        client: the session whose adapter sends the requests.
        user: the mailbox's address.
    """

    def __init__(self, client: GraphClient, user: str) -> None:
        self._client = client
        self._user = UsersRequestBuilder(client.adapter, {}).by_user_id(user)

    def folder(self, folder: str) -> Build:
        """Get a folder's name and message count by its id or well-known name."""
        query = MailFolderItemRequestBuilder.MailFolderItemRequestBuilderGetQueryParameters
        select = query(select=["id", "displayName", "totalItemCount"])
        return lambda: self._folder(folder).to_get_request_information(_configuration(select))

    def folders_named(self, name: str, parent: str | None) -> Build:
        """List the folders with a display name below `parent`, or at the top level."""
        condition = f"displayName eq '{name.replace(chr(39), chr(39) * 2)}'"
        if parent is None:
            top = MailFoldersRequestBuilder.MailFoldersRequestBuilderGetQueryParameters
            query = top(filter=condition, select=["id", "displayName"], top=FOLDER_PAGE_SIZE)
            return lambda: self._user.mail_folders.to_get_request_information(_configuration(query))
        child = ChildFoldersRequestBuilder.ChildFoldersRequestBuilderGetQueryParameters
        below = child(filter=condition, select=["id", "displayName"], top=FOLDER_PAGE_SIZE)
        return lambda: self._folder(parent).child_folders.to_get_request_information(_configuration(below))

    def folders(self, parent: str | None) -> Build:
        """List folders below `parent`, or at the top level, with the number of folders below each."""
        select = ["id", "displayName", "childFolderCount"]
        if parent is None:
            top = MailFoldersRequestBuilder.MailFoldersRequestBuilderGetQueryParameters
            query = top(select=select, top=FOLDER_PAGE_SIZE)
            return lambda: self._user.mail_folders.to_get_request_information(_configuration(query))
        child = ChildFoldersRequestBuilder.ChildFoldersRequestBuilderGetQueryParameters
        below = child(select=select, top=FOLDER_PAGE_SIZE)
        return lambda: self._folder(parent).child_folders.to_get_request_information(_configuration(below))

    def messages(self, folder: str, since: datetime | None, *, page_size: int, skip: int) -> Build:
        """List a page of a folder's messages, oldest first, after the first `skip` messages."""
        query = MessagesRequestBuilder.MessagesRequestBuilderGetQueryParameters(
            select=list(LISTED),
            # The filtered property must come first in the order (Graph: list messages).
            orderby=["receivedDateTime"],
            filter=None if since is None else f"receivedDateTime ge {since.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
            expand=[SIZE],
            top=page_size,
            skip=skip or None,
        )
        return lambda: self._folder(folder).messages.to_get_request_information(_configuration(query))

    def changes(self, folder: str, page_size: int) -> Build:
        """Start a delta query of a folder's messages."""
        query = DeltaRequestBuilder.DeltaRequestBuilderGetQueryParameters(select=list(LISTED), expand=[SIZE])
        return lambda: self._folder(folder).messages.delta.to_get_request_information(_configuration(query, page_size))

    def following(self, link: str, page_size: int | None = None) -> Build:
        """Follow a link from a Graph response.

        Raises:
            ConnectionLost: the link leads to another server.
        """
        self._client.check_origin(link)
        return lambda: self._user.messages.with_url(link).to_get_request_information(_configuration(None, page_size))

    def content(self, message: str) -> Build:
        """Download a message as MIME."""
        return lambda: self._message(message).content.to_get_request_information(_configuration())

    def properties(self, message: str) -> Build:
        """Get the properties of a message without its content."""
        query = MessageItemRequestBuilder.MessageItemRequestBuilderGetQueryParameters(select=list(PROPERTIES))
        return lambda: self._message(message).to_get_request_information(_configuration(query))

    def exists(self, message: str) -> Build:
        """Get a message's id, which fails if the message is not in the mailbox."""
        query = MessageItemRequestBuilder.MessageItemRequestBuilderGetQueryParameters(select=["id"])
        return lambda: self._message(message).to_get_request_information(_configuration(query))

    def addresses(self) -> Build:
        """Get the mailbox's addresses from the directory."""
        query = UserItemRequestBuilder.UserItemRequestBuilderGetQueryParameters(select=list(ADDRESSES))
        return lambda: self._user.to_get_request_information(_configuration(query))

    def delete(self, message: str) -> Build:
        """Move a message to Deleted Items; delete a message that is in Deleted Items."""
        return lambda: self._message(message).to_delete_request_information(_configuration())

    def delete_permanently(self, message: str) -> Build:
        """Delete a message so that mail programs cannot recover it (Graph: message: permanentDelete)."""
        return lambda: self._message(message).permanent_delete.to_post_request_information(_configuration())

    def move(self, message: str, folder: str) -> Build:
        """Move a message to another folder of the mailbox, named by its id or well-known name."""
        body = MovePostRequestBody(destination_id=folder)
        return lambda: self._message(message).move.to_post_request_information(body, _configuration())

    def _folder(self, folder: str) -> Any:
        return self._user.mail_folders.by_mail_folder_id(folder)

    def _message(self, message: str) -> Any:
        return self._user.messages.by_message_id(message)


class SubscriptionRequests:
    """Request builders for the subscriptions of an app registration. Each method returns a function that builds it.

    Args:
        client: the session whose adapter sends the requests.
    """

    def __init__(self, client: GraphClient) -> None:
        self._client = client
        self._all = SubscriptionsRequestBuilder(client.adapter, {})

    def list_all(self) -> Build:
        """List the app's subscriptions."""
        return lambda: self._all.to_get_request_information(_configuration())

    def following(self, link: str) -> Build:
        """Follow a link to the next page of subscriptions."""
        self._client.check_origin(link)
        return lambda: self._all.with_url(link).to_get_request_information(_configuration())

    def create(self, *, resource: str, url: str, client_state: str, expires: datetime) -> Build:
        """Subscribe to created messages. Change and lifecycle notifications are sent to the same URL."""
        body = Subscription(
            change_type="created",
            notification_url=url,
            lifecycle_notification_url=url,
            resource=resource,
            expiration_date_time=expires,
            client_state=client_state,
            latest_supported_tls_version="v1_2",
        )
        return lambda: self._all.to_post_request_information(body, _configuration())

    def renew(self, subscription: str, expires: datetime) -> Build:
        """Set a later expiry."""
        body = Subscription(expiration_date_time=expires)
        return lambda: self._all.by_subscription_id(subscription).to_patch_request_information(body, _configuration())

    def delete(self, subscription: str) -> Build:
        """Delete a subscription."""
        return lambda: self._all.by_subscription_id(subscription).to_delete_request_information(_configuration())


def page_items(page: dict[str, Any]) -> Sequence[dict[str, Any]]:
    """Return the items of a page.

    Raises:
        KeyError, TypeError: the response is not a page of Graph's.
    """
    items = page["value"]
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise TypeError("the response is not a page of items")
    return items


def _configuration(query: Any = None, page_size: int | None = None) -> RequestConfiguration[Any]:
    """Return a request configuration that prefers immutable ids and, if given, a page size."""
    configuration: RequestConfiguration[Any] = RequestConfiguration(query_parameters=query)
    configuration.headers.add(
        "Prefer", IMMUTABLE if page_size is None else f"{IMMUTABLE}, odata.maxpagesize={page_size}"
    )
    return configuration
