"""What the stand-in was asked, for tests to look at."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """One request to the Graph side.

    Attributes:
        method: GET, POST and so on.
        path: the decoded path, from `/v1.0` on.
        query: its options.
        mailbox: the address of the mailbox, if the path named one that there is.
        status: what was answered; 0 when the connection was dropped instead.
        app: the client id of the app that asked, if its token was good.
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
    """One request to the token service, without its secret.

    Attributes:
        path: discovery or token.
        client_id: which app it named.
        scope: what it wanted.
        status: what was answered.
    """

    path: str
    client_id: str
    scope: str
    status: int
