"""Error responses in Graph's format."""

from __future__ import annotations

from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any


class GraphError(Exception):
    """An error response.

    Attributes:
        status: HTTP status.
        code: Graph's error code.
        headers: additional headers, such as `Retry-After`.
    """

    def __init__(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = int(status)
        self.code = code
        self.headers = headers or {}

    def body(self, request_id: str, client_request_id: str) -> dict[str, Any]:
        """Return the JSON of the response."""
        return {
            "error": {
                "code": self.code,
                "message": str(self),
                "innerError": {
                    "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S"),
                    "request-id": request_id,
                    "client-request-id": client_request_id,
                },
            }
        }


def bad_request(message: str, code: str = "BadRequest") -> GraphError:
    """Return a 400."""
    return GraphError(HTTPStatus.BAD_REQUEST, code, message)


def unauthorized(message: str, authority: str) -> GraphError:
    """Return a 401 with its challenge."""
    challenge = (
        f'Bearer realm="", authorization_uri="{authority}/common/oauth2/authorize", '
        'client_id="00000003-0000-0000-c000-000000000000"'
    )
    headers = {"WWW-Authenticate": challenge}
    return GraphError(HTTPStatus.UNAUTHORIZED, "InvalidAuthenticationToken", message, headers)


def access_denied() -> GraphError:
    """Return a 403: the app lacks the permission, or it is not granted for this mailbox."""
    text = "Access is denied. Check credentials and try again."
    return GraphError(HTTPStatus.FORBIDDEN, "ErrorAccessDenied", text)


def denied_by_directory() -> GraphError:
    """Return a 403: the app may not read these properties of the directory."""
    text = "Insufficient privileges to complete the operation."
    return GraphError(HTTPStatus.FORBIDDEN, "Authorization_RequestDenied", text)


def no_such_resource(user: str) -> GraphError:
    """Return a 404 for a user that the directory does not have."""
    text = f"Resource '{user}' does not exist or one of its queried reference-property objects are not present."
    return GraphError(HTTPStatus.NOT_FOUND, "Request_ResourceNotFound", text)


def no_such_user(user: str) -> GraphError:
    """Return a 404 for a mailbox that does not exist."""
    return GraphError(HTTPStatus.NOT_FOUND, "ErrorInvalidUser", f"The requested user '{user}' is invalid.")


def no_such_item() -> GraphError:
    """Return a 404 for a message or folder that does not exist, or no longer exists."""
    text = "The specified object was not found in the store."
    return GraphError(HTTPStatus.NOT_FOUND, "ErrorItemNotFound", text)


def no_such_subscription() -> GraphError:
    """Return a 404 for a subscription that does not exist, or no longer exists."""
    return GraphError(HTTPStatus.NOT_FOUND, "ResourceNotFound", "The object was not found.")


def no_such_segment(segment: str) -> GraphError:
    """Return a 400 for an unknown path."""
    return bad_request(f"Resource not found for the segment '{segment}'.")


def method_not_allowed() -> GraphError:
    """Return a 405."""
    text = "The OData request is not supported."
    return GraphError(HTTPStatus.METHOD_NOT_ALLOWED, "ErrorInvalidRequest", text)


def throttled(retry_after: int) -> GraphError:
    """Return a 429: too many concurrent requests."""
    text = "Application is over its MailboxConcurrency limit."
    headers = {"Retry-After": str(retry_after)}
    return GraphError(HTTPStatus.TOO_MANY_REQUESTS, "ApplicationThrottled", text, headers)


def unavailable(retry_after: int) -> GraphError:
    """Return a 503: the server is busy."""
    text = "The server is busy. Try again later."
    headers = {"Retry-After": str(retry_after)}
    return GraphError(HTTPStatus.SERVICE_UNAVAILABLE, "ServiceUnavailable", text, headers)
