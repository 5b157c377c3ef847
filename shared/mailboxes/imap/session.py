r"""An IMAP session up to an open folder: connection, TLS, sign-in, capabilities, folders. imapclient does these.

Three things are done for it. imaplib keeps the last commands and imapclient logs each of them: both are turned off
before anything secret is sent. A user name goes quoted (imaplib sends it bare, and `primary\shared` is no atom). An
XOAUTH2 server that refuses says why in a challenge, which wants an empty answer and not the token again.
"""

from __future__ import annotations

import contextlib
import imaplib
import ipaddress
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from imapclient import IMAPClient, SocketTimeout

from shared.config import MailboxSettings, SignIn, Tls
from shared.errors import AuthenticationError, ConnectFailed, MailboxError, MailroomError, TlsRefused, printable
from shared.mailboxes.imap.errors import (
    CommandRejected,
    folder_error,
    mapped_errors,
    read_only,
    server_text,
    session_error,
    sign_in_ended,
    sign_in_error,
)
from shared.mailboxes.imap.syntax import folder_name, quoted_string
from shared.mailboxes.imap.wire import Wire
from shared.mailboxes.oauth.token_cache import xoauth2
from shared.mailboxes.temporary_refusals import is_temporary_refusal
from shared.mailboxes.tls import connecting, context_for

CONNECT_TIMEOUT = 30.0
READ_TIMEOUT = 60.0
"""Seconds for the connection with its handshake, and for any silence after it."""

LOGOUT_TIMEOUT = 5.0
"""Seconds that saying good-bye may take."""

VERSION = "0.1.0"
"""The version that IMAP ID sends; pyproject.toml has the same."""

_EXISTS = re.compile(rb"\* (\d+) EXISTS\b", re.IGNORECASE)
_OPENED = re.compile(rb"\* OK \[(UIDVALIDITY|UIDNEXT|READ-ONLY)(?: (\d+))?\]", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class SelectedFolder:
    """A folder as it was when it was opened.

    Attributes:
        uidvalidity: what its UIDs are valid under.
        exists: how many messages it holds.
        uidnext: the UID that the next message gets; None if the server does not say.
    """

    uidvalidity: int
    exists: int
    uidnext: int | None = None


class Session:
    """A connection that is signed in.

    Args:
        settings: the mailbox's.
        tokens: gives an access token that is good now; asked only where the sign-in is by token.

    Attributes:
        where: the mailbox and its server, for error texts.
        wire: the way for the bulk.
        is_near: the server is on this machine.

    Raises:
        ConnectFailed, TlsRefused, AuthenticationError, MailboxBusy, ConnectionLost: as they say.
    """

    def __init__(self, settings: MailboxSettings, tokens: Callable[[], str]) -> None:
        self.where = f"mailbox {settings.name} at {settings.host}:{settings.port}"
        self._client = _connect(settings, self.where)
        try:
            _sign_in(self._client, settings, tokens, self.where)
            with self.mapping():
                self._capabilities = frozenset(name.decode("ascii") for name in self._client.capabilities())
                self.is_near = ipaddress.ip_address(self._client.socket().getpeername()[0]).is_loopback
        except BaseException:
            self.close()
            raise
        self.wire = Wire(_imap(self._client))
        try:
            self._identify()
        except BaseException:
            self.close()
            raise

    def can(self, capability: str) -> bool:
        """Whether the server offers a capability."""
        return capability in self._capabilities

    def mapping(self) -> _Mapping:
        """A context in which every foreign exception becomes one of ours."""
        return _Mapping(self.where)

    def select(self, folder: str, *, for_removal: bool) -> SelectedFolder:
        """Open a folder with SELECT, which changes no flag.

        Never with EXAMINE, if it can be helped: Courier and Mailutils give UIDs and a UIDVALIDITY at EXAMINE that they
        keep only at SELECT.

        Args:
            folder: its name.
            for_removal: messages are to be removed from it.

        Raises:
            FolderMissing: there is none, or it may not be opened.
            RemovalRefused: it may only be read, and `for_removal` is set.
            MailboxError: the server tells no UIDVALIDITY, without which a UID says nothing.
        """
        try:
            self.wire.idle()
            try:
                values = self._open(b"SELECT ", folder_name(folder))
            except CommandRejected as refusal:
                if for_removal or _is_temporary(refusal.text):
                    raise
                values = self._open(b"EXAMINE ", folder_name(folder))
        except Exception as error:
            raise folder_error(error, folder, "FOLDERS", self.where) from error
        if for_removal and "READ-ONLY" in values:
            raise read_only(self.where, f"SELECT {folder}: READ-ONLY")
        if not values.get("UIDVALIDITY"):
            raise MailboxError(f"{self.where}: folder {folder!r} has no UIDVALIDITY; collect this mailbox by POP3")
        return SelectedFolder(values["UIDVALIDITY"], values.get("EXISTS", 0), values.get("UIDNEXT"))

    def select_named(self, quoted_name: bytes) -> SelectedFolder:
        """Open a folder by its quoted name.

        Raises:
            Answered: the server refused.
        """
        self.wire.settle()
        values = self._open(b"SELECT ", quoted_name)
        return SelectedFolder(values.get("UIDVALIDITY", 0), values.get("EXISTS", 0), values.get("UIDNEXT"))

    def _open(self, verb: bytes, quoted_name: bytes) -> dict[str, int]:
        """Return what a SELECT or EXAMINE says of the folder."""
        values: dict[str, int] = {}

        def take(line: bytes) -> bool:
            if exists := _EXISTS.match(line):
                values["EXISTS"] = int(exists[1])
            elif code := _OPENED.match(line):
                values[code[1].decode("ascii").upper()] = int(code[2] or 1)
            else:
                return False
            return True

        self.wire.on_line = take
        try:
            command = self.wire.wait(self.wire.send(verb + quoted_name)[0])
        finally:
            self.wire.on_line = None
        command.check()
        _imap(self._client).state = "SELECTED"
        if command.answer.upper().startswith("[READ-ONLY]"):
            values["READ-ONLY"] = 1
        elif command.answer.upper().startswith("[READ-WRITE]"):
            values.pop("READ-ONLY", None)
        return values

    def _identify(self) -> None:
        """Send ID (RFC 2971) where it is offered: 163.com, 126.com and yeah.net open no folder without. Never fails."""
        if self.can("ID"):
            with self.mapping():
                self.wire.wait(self.wire.send(b'ID ("name" "Mailroom" "version" "%b")' % VERSION.encode("ascii"))[0])

    def count(self, folder: str, setting: str) -> int:
        """How many messages a folder holds, without opening it.

        Args:
            folder: its name.
            setting: the setting that names it.

        Raises:
            FolderMissing: there is none.
        """
        try:
            self.wire.idle()
            return int(self._client.folder_status(folder, ["MESSAGES"])[b"MESSAGES"])
        except Exception as error:
            raise folder_error(error, folder, setting, self.where) from error

    def close(self) -> None:
        """Log out if that can be done at once, and disconnect. Never raises."""
        with contextlib.suppress(Exception):
            if not hasattr(self, "wire") or self.wire.is_idle:
                self._client.socket().settimeout(LOGOUT_TIMEOUT)
                self._client.logout()
        if hasattr(self, "wire"):
            self.wire.close()
        with contextlib.suppress(Exception):
            self._client.shutdown()


class _Mapping:
    def __init__(self, where: str) -> None:
        self._where = where

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, MailroomError):
            raise mapped_errors(error, self._where) from error


def _imap(client: IMAPClient) -> Any:
    return client._imap  # noqa: SLF001  imapclient offers no other way to the connection, and says to reuse it


def _connect(settings: MailboxSettings, where: str) -> IMAPClient:
    implicit = settings.tls is Tls.IMPLICIT
    context = None if settings.tls is Tls.NONE else context_for(settings)
    with connecting(settings):
        try:
            client = IMAPClient(
                settings.host,
                settings.port,
                ssl=implicit,
                ssl_context=context if implicit else None,
                timeout=SocketTimeout(CONNECT_TIMEOUT, READ_TIMEOUT),
            )
        except imaplib.IMAP4.error as error:
            raise _greeting_error(error, where) from error
        # Small commands go out while answers to others come in: none of them is to wait for an acknowledgement.
        client.socket().setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        imap = _imap(client)
        imap.debug = 0
        imap._log = imap._mesg = _say_nothing  # noqa: SLF001  see the module's docstring
        try:
            if settings.tls is Tls.STARTTLS:
                _start_tls(client, context, where)
            _check_nobody_is_in(imap.state, where)
        except BaseException:
            with contextlib.suppress(Exception):
                client.shutdown()
            raise
    return client


def _check_nobody_is_in(state: str, where: str) -> None:
    if state != "NONAUTH":
        raise AuthenticationError(f"{where}: the server says that somebody is signed in already (PREAUTH): but who?")


def _greeting_error(error: Exception, where: str) -> MailroomError:
    """A server that greets with BYE or with what is no IMAP."""
    text = server_text(error)
    refused = isinstance(error, imaplib.IMAP4.abort) or is_temporary_refusal(text)
    found = sign_in_ended(text, where) if refused else mapped_errors(error, where)
    return ConnectFailed(f"{where}: no IMAP greeting: {printable(text)}") if type(found) is MailboxError else found


def _start_tls(client: IMAPClient, context: object, where: str) -> None:
    """RFC 3501 section 6.2.1; everything that was said before the handshake is forgotten."""
    imap = _imap(client)
    if imap.state != "NONAUTH" or b"STARTTLS" not in client.capabilities():
        raise TlsRefused(f"{where}: the server does not offer STARTTLS; set TLS=implicit and its port, if it has one")
    try:
        client.starttls(context)
    except imaplib.IMAP4.abort as error:
        raise mapped_errors(error, where) from error
    except imaplib.IMAP4.error as error:
        raise TlsRefused(f"{where}: STARTTLS refused: {printable(server_text(error))}") from error
    imap.untagged_responses.clear()


def _sign_in(client: IMAPClient, settings: MailboxSettings, tokens: Callable[[], str], where: str) -> None:
    failure = _refusal(client, settings, tokens, where)
    if failure is not None:
        # Raised here and not where it was found, so that no chain and no frame leads to the secret.
        failure.__cause__ = failure.__context__ = None
        raise failure.with_traceback(None)


def _refusal(
    client: IMAPClient, settings: MailboxSettings, tokens: Callable[[], str], where: str
) -> MailroomError | None:
    """Sign in; what stood against it, if anything did."""
    by_password = settings.sign_in is SignIn.PASSWORD
    secret = (settings.password.get_secret_value() if settings.password else "") if by_password else tokens()
    try:
        if by_password:
            _log_in(client, settings.login, secret, where)
        else:
            client.sasl_login("XOAUTH2", _Xoauth2(xoauth2(settings.mailbox_address, secret)))
    except MailroomError as error:
        return error
    except imaplib.IMAP4.error as error:
        # imapclient makes a LoginError of a connection that broke, too; what it came from tells them apart.
        cause = error if isinstance(error, imaplib.IMAP4.abort) else error.__context__
        text = _without(server_text(error), secret)
        broke = isinstance(cause, imaplib.IMAP4.abort)
        return sign_in_ended(text, where) if broke else sign_in_error(text, where)
    except OSError as error:
        return mapped_errors(error, where)
    except Exception as error:  # noqa: BLE001  whatever it is, its text may hold the secret
        return AuthenticationError(f"{where}: sign-in failed ({type(error).__name__})")
    return None


def _log_in(client: IMAPClient, login: str, password: str, where: str) -> None:
    """LOGIN; SASL PLAIN for what LOGIN cannot say (RFC 3501 has no letters beyond ASCII there) or may not."""
    offered = client.capabilities()
    if re.search(r"[\r\n\0]", login + password):
        raise AuthenticationError(f"{where}: USERNAME or PASSWORD holds a line break")
    if (login + password).isascii() and b"LOGINDISABLED" not in offered:
        client.login(quoted_string(login.encode("ascii")).decode("ascii"), password)
    elif b"AUTH=PLAIN" in offered:
        client.sasl_login("PLAIN", lambda _challenge: f"\0{login}\0{password}".encode())
    else:
        raise AuthenticationError(
            f"{where}: the server takes no password (LOGINDISABLED), or none with letters beyond ASCII; "
            "look at TLS and PASSWORD"
        )


class _Xoauth2:
    """Answers the server's challenges: the token first, then nothing, so that the refusal is not kept back."""

    def __init__(self, response: bytes) -> None:
        self._response = response

    def __call__(self, _challenge: bytes) -> bytes:
        response, self._response = self._response, b""
        return response


def _without(text: str, secret: str) -> str:
    """Return a server's answer without the secret: a server may repeat the command that it refuses."""
    for form in (secret, secret.replace("\\", "\\\\").replace('"', '\\"')):
        text = text.replace(form, "…") if form else text
    return text


def _is_temporary(text: str) -> bool:
    return session_error(text, "") is not None or is_temporary_refusal(text)


def _say_nothing(*_line: object) -> None:
    pass
