"""Records of the requests that the simulator received, for assertions in tests."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """A request to Graph.

    Attributes:
        method: HTTP method.
        path: decoded path, beginning with `/v1.0`.
        query: query options.
        mailbox: address of the mailbox, if the path names an existing one.
        status: status of the response; 0 if the connection was dropped.
        app: client id of the app, if its token was valid.
        prefer: the `Prefer` headers, joined by commas.
    """

    method: str
    path: str
    query: dict[str, str]
    mailbox: str | None
    status: int
    app: str | None
    prefer: str = ""


@dataclass(frozen=True, slots=True)
class RecordedTokenRequest:
    """A request to the token service, without its secret.

    Attributes:
        path: path of the discovery document or of the token endpoint.
        client_id: the app that it named.
        scope: the requested scope.
        status: status of the response.
    """

    path: str
    client_id: str
    scope: str
    status: int
