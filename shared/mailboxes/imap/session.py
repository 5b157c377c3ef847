r"""An IMAP session up to a selected folder: connection, TLS, sign-in, capabilities, folders. It uses imapclient.

Three things differ from imapclient. imaplib keeps the last commands and imapclient logs each command: both are turned
off before a secret is sent. The user name is sent quoted; imaplib sends it bare, and `primary\shared` is not an atom.
An XOAUTH2 server sends the reason of a refusal in a challenge, which requires an empty response and not the token
again.
"""

from __future__ import annotations

import contextlib
import imaplib
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Any

from imapclient import IMAPClient, SocketTimeout

from shared.config import MailboxSettings, SignIn, Tls
from shared.errors import AuthenticationError, ConnectFailed, MailboxError, MailroomError, TlsRefused, printable
from shared.mailboxes.imap.errors import (
    CommandRejected,
    folder_error,
    interrupted_sign_in_error,
    map_error,
    read_only_error,
    server_text,
    session_error,
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
"""Seconds that LOGOUT may take."""

VERSION = "0.1.0"
"""The version that IMAP ID sends; pyproject.toml has the same."""

_NOT_SELECTABLE = frozenset({b"\\NOSELECT", b"\\NONEXISTENT"})
"""Attributes of a folder that holds no messages (RFC 3501 section 7.2.2, RFC 5258 section 3)."""

_EXISTS = re.compile(rb"\* (\d+) EXISTS\b", re.IGNORECASE)
_CODE = re.compile(rb"\* OK \[(UIDVALIDITY|UIDNEXT|READ-ONLY)(?: (\d+))?\]", re.IGNORECASE)
_FOLDER_STATE = re.compile(_EXISTS.pattern + b"|" + _CODE.pattern, re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class SelectedFolder:
    """The state of a folder when it was selected.

    Attributes:
        uidvalidity: the folder's UIDVALIDITY; its UIDs are only valid together with it.
        exists: number of messages.
        uidnext: the UID of the next new message; None if the server does not report it.
    """

    uidvalidity: int
    exists: int
    uidnext: int | None = None


class Session:
    """A signed-in connection.

    Args:
        settings: the mailbox's settings.
        tokens: returns a valid access token; called only if the sign-in uses tokens.

    Attributes:
        where: the mailbox and its server, for error texts.
        wire: sends pipelined commands and reads responses.

    Raises:
        ConnectFailed, TlsRefused, AuthenticationError, MailboxBusy, ConnectionLost: see `shared.errors`.
    """

    def __init__(self, settings: MailboxSettings, tokens: Callable[[], str]) -> None:
        self.where = f"mailbox {settings.name} at {settings.host}:{settings.port}"
        self._client = _connect(settings, self.where)
        try:
            _sign_in(self._client, settings, tokens, self.where)
            with self.map_errors():
                self._capabilities = frozenset(name.decode("ascii") for name in self._client.capabilities())
        except BaseException:
            self.close()
            raise
        self.wire = Wire(_imap(self._client))
        try:
            self._identify()
        except BaseException:
            self.close()
            raise

    def supports(self, capability: str) -> bool:
        """Return whether the server offers a capability."""
        return capability in self._capabilities

    def map_errors(self) -> _ErrorMapping:
        """Return a context that maps exceptions to errors of `shared.errors`."""
        return _ErrorMapping(self.where)

    def select(self, folder: str, *, for_removal: bool) -> SelectedFolder:
        """Select a folder with SELECT, which changes no flag.

        EXAMINE is used only if SELECT is refused: Courier and Mailutils keep UIDs and UIDVALIDITY only after a SELECT.

        Args:
            folder: the folder's name.
            for_removal: whether messages are removed from it.

        Raises:
            FolderMissing: the folder does not exist, or cannot be opened.
            RemovalRefused: the folder is read-only, and `for_removal` is set.
            MailboxError: the server reports no UIDVALIDITY, without which a UID identifies nothing.
        """
        try:
            self.wire.wait_all_discarding()
            try:
                values = self._select(b"SELECT ", folder_name(folder))
            except CommandRejected as refusal:
                if for_removal or _is_temporary(refusal.text):
                    raise
                values = self._select(b"EXAMINE ", folder_name(folder))
        except Exception as error:
            raise folder_error(error, folder, "FOLDERS", self.where) from error
        if for_removal and "READ-ONLY" in values:
            raise read_only_error(self.where, f"SELECT {folder}: READ-ONLY")
        if not values.get("UIDVALIDITY"):
            raise MailboxError(
                f"{self.where}: folder {folder!r} has no UIDVALIDITY; set PROTOCOL=pop3 for this mailbox"
            )
        return SelectedFolder(values["UIDVALIDITY"], values.get("EXISTS", 0), values.get("UIDNEXT"))

    def select_quoted(self, quoted_name: bytes) -> SelectedFolder:
        """Select a folder by its quoted name.

        Raises:
            CommandRejected: the server refused.
        """
        self.wire.wait_all()
        values = self._select(b"SELECT ", quoted_name)
        return SelectedFolder(values.get("UIDVALIDITY", 0), values.get("EXISTS", 0), values.get("UIDNEXT"))

    def _select(self, verb: bytes, quoted_name: bytes) -> dict[str, int]:
        """Send SELECT or EXAMINE and return the values of the responses by name."""
        values: dict[str, int] = {}
        (command,) = self.wire.send(verb + quoted_name)
        for line in self.wire.lines_until(command, _FOLDER_STATE):
            if exists := _EXISTS.match(line):
                values["EXISTS"] = int(exists[1])
            elif code := _CODE.match(line):
                values[code[1].decode("ascii").upper()] = int(code[2] or 1)
        command.check()
        _imap(self._client).state = "SELECTED"
        if command.response.upper().startswith("[READ-ONLY]"):
            values["READ-ONLY"] = 1
        elif command.response.upper().startswith("[READ-WRITE]"):
            values.pop("READ-ONLY", None)
        return values

    def _identify(self) -> None:
        """Send ID (RFC 2971) if it is offered: 163.com, 126.com and yeah.net require it before SELECT. Never fails."""
        if self.supports("ID"):
            with self.map_errors():
                self.wire.wait(self.wire.send(b'ID ("name" "Mailroom" "version" "%b")' % VERSION.encode("ascii"))[0])

    def count_messages(self, folder: str, setting: str) -> int:
        """Return the number of messages in a folder, without selecting it.

        Args:
            folder: the folder's name.
            setting: the setting that names it.

        Raises:
            FolderMissing: the folder does not exist.
        """
        try:
            self.wire.wait_all_discarding()
            return int(self._client.folder_status(folder, ["MESSAGES"])[b"MESSAGES"])
        except Exception as error:
            raise folder_error(error, folder, setting, self.where) from error

    def folder_names(self, limit: int) -> list[str]:
        """Return the names of at most `limit` folders that can be selected."""
        with self.map_errors():
            self.wire.wait_all_discarding()
            folders = self._client.list_folders()
        selectable = (name for flags, _, name in folders if not _NOT_SELECTABLE & {flag.upper() for flag in flags})
        return [str(name) for name in islice(selectable, limit)]

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


class _ErrorMapping:
    def __init__(self, where: str) -> None:
        self._where = where

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, MailroomError):
            raise map_error(error, self._where) from error


def _imap(client: IMAPClient) -> Any:
    return client._imap  # noqa: SLF001  imapclient has no public access to the connection


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
        # Small commands are sent while other responses arrive; none of them may wait for an acknowledgement.
        client.socket().setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        imap = _imap(client)
        imap.debug = 0
        imap._log = imap._mesg = _discard_log  # noqa: SLF001  see the module's docstring
        try:
            if settings.tls is Tls.STARTTLS:
                _start_tls(client, context, where)
            _refuse_preauth(imap.state, where)
        except BaseException:
            with contextlib.suppress(Exception):
                client.shutdown()
            raise
    return client


def _refuse_preauth(state: str, where: str) -> None:
    if state != "NONAUTH":
        raise AuthenticationError(
            f"{where}: the connection is already signed in as an unknown user (PREAUTH); check HOST and PORT"
        )


def _greeting_error(error: Exception, where: str) -> MailroomError:
    """Return the error for a greeting that is BYE or not IMAP."""
    text = server_text(error)
    refused = isinstance(error, imaplib.IMAP4.abort) or is_temporary_refusal(text)
    mapped = interrupted_sign_in_error(text, where) if refused else map_error(error, where)
    return ConnectFailed(f"{where}: no IMAP greeting: {printable(text)}") if type(mapped) is MailboxError else mapped


def _start_tls(client: IMAPClient, context: object, where: str) -> None:
    """Start TLS (RFC 3501 section 6.2.1) and drop all responses received before the handshake."""
    imap = _imap(client)
    if imap.state != "NONAUTH" or b"STARTTLS" not in client.capabilities():
        raise TlsRefused(f"{where}: the server does not offer STARTTLS; set TLS=implicit and its PORT, if supported")
    try:
        client.starttls(context)
    except imaplib.IMAP4.abort as error:
        raise map_error(error, where) from error
    except imaplib.IMAP4.error as error:
        raise TlsRefused(f"{where}: STARTTLS refused: {printable(server_text(error))}") from error
    imap.untagged_responses.clear()


def _sign_in(client: IMAPClient, settings: MailboxSettings, tokens: Callable[[], str], where: str) -> None:
    failure = _try_sign_in(client, settings, tokens, where)
    if failure is not None:
        # Raised here, so that neither its chain nor its frames contain the secret.
        failure.__cause__ = failure.__context__ = None
        raise failure.with_traceback(None)


def _try_sign_in(
    client: IMAPClient, settings: MailboxSettings, tokens: Callable[[], str], where: str
) -> MailroomError | None:
    """Sign in; return the error if that fails."""
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
        # imapclient raises LoginError for a broken connection too; the original exception distinguishes the cases.
        cause = error if isinstance(error, imaplib.IMAP4.abort) else error.__context__
        text = _redact(server_text(error), secret)
        interrupted = isinstance(cause, imaplib.IMAP4.abort)
        return interrupted_sign_in_error(text, where) if interrupted else sign_in_error(text, where)
    except OSError as error:
        return map_error(error, where)
    except Exception as error:  # noqa: BLE001  the text of any exception may contain the secret
        return AuthenticationError(f"{where}: sign-in failed ({type(error).__name__})")
    return None


def _log_in(client: IMAPClient, login: str, password: str, where: str) -> None:
    """Sign in with LOGIN, or with SASL PLAIN if LOGIN is disabled or the password is not ASCII (RFC 3501)."""
    offered = client.capabilities()
    if re.search(r"[\r\n\0]", login + password):
        raise AuthenticationError(f"{where}: USERNAME or PASSWORD contains a line break or a NUL; remove it")
    if (login + password).isascii() and b"LOGINDISABLED" not in offered:
        client.login(quoted_string(login.encode("ascii")).decode("ascii"), password)
    elif b"AUTH=PLAIN" in offered:
        client.sasl_login("PLAIN", lambda _challenge: f"\0{login}\0{password}".encode())
    else:
        raise AuthenticationError(
            f"{where}: the server accepts no password (LOGINDISABLED), or only ASCII passwords; check TLS and PASSWORD"
        )


class _Xoauth2:
    """Responds to the server's challenges: first with the token, then empty, so that the server sends its refusal."""

    def __init__(self, response: bytes) -> None:
        self._response = response

    def __call__(self, _challenge: bytes) -> bytes:
        response, self._response = self._response, b""
        return response


def _redact(text: str, secret: str) -> str:
    """Remove the secret from a response: a server may repeat the command that it refuses."""
    for form in (secret, secret.replace("\\", "\\\\").replace('"', '\\"')):
        text = text.replace(form, "…") if form else text
    return text


def _is_temporary(text: str) -> bool:
    return session_error(text, "") is not None or is_temporary_refusal(text)


def _discard_log(*_line: object) -> None:
    pass
