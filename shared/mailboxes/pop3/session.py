"""A POP3 session: connection, TLS, capabilities, sign-in, and QUIT.

It implements RFC 1939, RFC 2449 (CAPA), RFC 2595 (STLS), RFC 5034 (AUTH) and RFC 6856 (UTF8). For XOAUTH2 it sends the
token on a second line, as Microsoft requires.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from shared.config import MailboxSettings, SignIn, Tls
from shared.errors import AuthenticationError, ConnectFailed, ConnectionLost, MailroomError, TlsRefused, printable
from shared.mailboxes.greeting import await_greeting, foreign_greeting_error
from shared.mailboxes.oauth.token_cache import xoauth2
from shared.mailboxes.pop3.errors import ProtocolViolation, command_error, sign_in_error
from shared.mailboxes.pop3.server_record import KNOWN_BROKEN
from shared.mailboxes.pop3.wire import Wire, parse_status
from shared.mailboxes.tls import (
    CONNECT_TIMEOUT,
    connect_socket,
    connecting,
    context_for,
    implicit_tls_fix,
    setting_name,
    sign_in_fix,
    wrap_socket,
)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """The timeouts of a session, in seconds.

    Attributes:
        connect: for the connection, and again for the handshake.
        read: for any silence after that.
        quit: for a QUIT that commits nothing.
    """

    connect: float = CONNECT_TIMEOUT
    read: float = 60.0
    quit: float = 5.0


class Session:
    """A signed-in connection.

    Args:
        settings: the mailbox's settings.
        tokens: returns a valid access token; called only if the sign-in uses tokens.
        timeouts: the timeouts.

    Attributes:
        where: the mailbox and its server, for error texts.
        wire: reads and writes POP3.

    Raises:
        ConnectFailed, TlsRefused, AuthenticationError, MailboxBusy, MailboxError, ConnectionLost: see `shared.errors`.
    """

    def __init__(self, settings: MailboxSettings, tokens: Callable[[], str], timeouts: Timeouts) -> None:
        self.where = f"mailbox {settings.name} at {settings.host}:{settings.port}"
        self._settings = settings
        self._timeouts = timeouts
        self._capabilities: dict[str, str] | None = None
        self._greeting_text = ""
        self.wire = Wire(connect_socket(settings, timeout=timeouts.connect))
        try:
            self._read_greeting()
            with self.map_errors():
                self._read_capabilities()
            if settings.tls is Tls.STARTTLS:
                self._start_tls()
            with self.map_errors():
                # Before the sign-in, and after STLS, which resets it (RFC 6856 section 2.1).
                in_utf8 = self._enable_utf8()
            self._sign_in(tokens)
            with self.map_errors():
                # Some servers list all capabilities only after the sign-in (RFC 2449 section 5).
                self._read_capabilities()
                if not in_utf8:
                    # Older versions of Courier accept UTF8 only here. Before the sign-in, a proxy answers for itself.
                    self._enable_utf8()
        except BaseException:
            self.disconnect()
            raise

    def supports(self, capability: str) -> bool:
        """Return whether the server offers a capability."""
        return capability in (self._capabilities or {})

    def may_support(self, capability: str) -> bool:
        """Return whether a capability may be tried: the server offers it, or is too old to list capabilities."""
        return self._capabilities is None or capability in self._capabilities

    @property
    def pipelines(self) -> bool:
        """Whether the server offers PIPELINING and is not known for a broken implementation."""
        implementation = (self._capabilities or {}).get("IMPLEMENTATION", "")
        return self.supports("PIPELINING") and not KNOWN_BROKEN.search(f"{self._greeting_text}\n{implementation}")

    @property
    def login_delay(self) -> float | None:
        """Minimum seconds between two sign-ins, if the server reports it (RFC 2449 section 6.5)."""
        match = re.match(r"\d{1,6}", (self._capabilities or {}).get("LOGIN-DELAY", ""))
        return float(match[0]) if match else None

    @contextlib.contextmanager
    def map_errors(self) -> Iterator[None]:
        """Return a context that maps protocol violations to errors of `shared.errors`."""
        try:
            yield
        except ProtocolViolation as error:
            raise ConnectionLost(f"{self.where}: {error}") from error

    def quit(self) -> tuple[bool, str]:
        """Send QUIT, which commits deletions, disconnect, and return the server's response.

        Raises:
            ConnectionLost: the response was lost, so the deletions may be committed or not.
        """
        try:
            with self.map_errors():
                self.wire.send(b"QUIT")
                return self.wire.read_response()
        finally:
            self.disconnect()

    def quit_quietly(self) -> None:
        """Send QUIT where nothing is to be committed, and disconnect. Never raises."""
        with contextlib.suppress(Exception):
            self.wire.connection.settimeout(self._timeouts.quit)
            self.quit()
        self.disconnect()

    def disconnect(self) -> None:
        """Close the connection: the server discards uncommitted deletions. Never raises."""
        with contextlib.suppress(Exception):
            self.wire.connection.close()

    def _read_greeting(self) -> None:
        with connecting(self._settings):
            if self._settings.tls is not Tls.IMPLICIT:
                await_greeting(self._settings, self.wire.connection)
            try:
                greeting = self.wire.read_line()
                foreign = foreign_greeting_error(self._settings, greeting)
                if foreign is not None:
                    raise foreign
                ready, text = parse_status(greeting)
            except ProtocolViolation as error:
                raise ConnectFailed(f"{self.where}: no POP3 greeting: {error}") from error
        self.wire.connection.settimeout(self._timeouts.read)
        if not ready:
            raise command_error(text, self.where, "the connection")
        self._greeting_text = text

    def _read_capabilities(self) -> None:
        self.wire.send(b"CAPA")
        accepted, _ = self.wire.read_response()
        if not accepted:
            return
        lines = [line.decode("ascii", "replace").strip() for line in self.wire.read_lines()]
        self._capabilities = {name.upper(): value for name, _, value in (line.partition(" ") for line in lines) if name}

    def _enable_utf8(self) -> bool:
        """Send UTF8 if the server offers it, as `UTF8` or `UTF8 USER`, and return whether it was accepted.

        Without UTF8, Courier sends a substitute in place of a message with 8-bit headers. A refusal is not an error:
        the server then behaves as before RFC 6856.
        """
        if not self.supports("UTF8"):
            return False
        self.wire.send(b"UTF8")
        return self.wire.read_response()[0]

    def _start_tls(self) -> None:
        """Start TLS with STLS (RFC 2595 section 4), which must succeed before the sign-in."""
        fix = implicit_tls_fix(self._settings)
        if not self.supports("STLS"):
            raise TlsRefused(f"{self.where}: the server does not offer STLS; {fix}")
        context = context_for(self._settings)
        with self.map_errors():
            self.wire.send(b"STLS")
            accepted, text = self.wire.read_response()
        if not accepted:
            raise TlsRefused(f"{self.where}: STLS was refused: {printable(text)}; {fix}")
        with connecting(self._settings):
            self.wire.connection.settimeout(self._timeouts.connect)
            self.wire.replace(wrap_socket(self.wire.connection, context, self._settings))
            self.wire.connection.settimeout(self._timeouts.read)
        with self.map_errors():
            # An attacker may have forged the capabilities that were sent without TLS.
            self._capabilities = None
            self._read_capabilities()

    def _sign_in(self, tokens: Callable[[], str]) -> None:
        failure = self._try_sign_in(tokens)
        if failure is not None:
            # Raised here, so that neither its chain nor its frames contain the secret.
            failure.__cause__ = failure.__context__ = failure.__traceback__ = None
            raise failure

    def _try_sign_in(self, tokens: Callable[[], str]) -> MailroomError | None:
        """Sign in; return the error if that fails."""
        settings = self._settings
        try:
            secret = _secret(settings, tokens)
            if settings.sign_in is SignIn.PASSWORD:
                accepted, text = self._password(secret)
            else:
                accepted, text = self._token(secret)
        except MailroomError as error:
            return error
        except ProtocolViolation as error:
            return ConnectionLost(f"{self.where}: {error}")
        if accepted:
            return None
        # A server may repeat the line that it refuses.
        text = text.replace(secret, "…") if secret else text
        return sign_in_error(text, self.where, sign_in_fix(settings, "POP"), login_delay=self.login_delay)

    def _password(self, password: str) -> tuple[bool, str]:
        login = self._settings.login
        if re.search(r"[\r\n\0]", login + password):
            names = f"{setting_name(self._settings, 'USERNAME')} or {setting_name(self._settings, 'PASSWORD')}"
            raise AuthenticationError(f"{self.where}: {names} contains a line break or a NUL; remove it")
        mechanisms = (self._capabilities or {}).get("SASL", "").upper().split()
        if "PLAIN" in mechanisms and not self.may_support("USER"):
            return self._sasl(b"PLAIN", f"\0{login}\0{password}".encode())
        self.wire.send(b"USER " + login.encode())
        accepted, text = self.wire.read_response()
        if accepted:
            self.wire.send(b"PASS " + password.encode())
            accepted, text = self.wire.read_response()
        return accepted, text

    def _token(self, token: str) -> tuple[bool, str]:
        return self._sasl(b"XOAUTH2", xoauth2(self._settings.mailbox_address, token))

    def _sasl(self, mechanism: bytes, response: bytes) -> tuple[bool, str]:
        """Send AUTH with the response on a line of its own (RFC 5034), the only form that Exchange Online accepts."""
        self.wire.send(b"AUTH " + mechanism)
        challenge = self.wire.read_line()
        if not challenge.startswith(b"+") or challenge[:3].upper() == b"+OK":
            return False, challenge.decode("utf-8", "replace").removeprefix("-ERR").strip()
        secret = base64.b64encode(response)
        self.wire.send(secret)
        line = self.wire.read_line()
        status = ""
        if line.startswith(b"+") and line[:3].upper() != b"+OK":
            # The challenge contains the reason of the refusal. The server refuses after an empty response to it.
            status = _status(line[1:])
            self.wire.send(b"")
            line = self.wire.read_line()
        text = line.replace(secret, b"...").decode("utf-8", "replace")
        if line[:3].upper() == b"+OK":
            return True, text
        return False, f"{text.removeprefix('-ERR').strip()}{status}"


def open_session(settings: MailboxSettings, tokens: Callable[[], str], timeouts: Timeouts) -> Session:
    """Open a session. If the server refuses a token and there is another by now, retry with it once (rule 1.4)."""
    used: list[bytes] = []

    def token() -> str:
        access_token = tokens()
        used.append(hashlib.sha256(access_token.encode()).digest())
        return access_token

    try:
        return Session(settings, token, timeouts)
    except AuthenticationError:
        if not used:
            raise
        token()
        if used[0] == used[1]:
            raise
    return Session(settings, token, timeouts)


def _secret(settings: MailboxSettings, tokens: Callable[[], str]) -> str:
    if settings.sign_in is SignIn.PASSWORD:
        return settings.password.get_secret_value() if settings.password is not None else ""
    return tokens()


def _status(challenge: bytes) -> str:
    """Return the `status` of the JSON with which the server refuses a token."""
    try:
        reason = json.loads(base64.b64decode(challenge.strip()))
        return f" (status {printable(reason['status'], 40)})"
    except (ValueError, KeyError, TypeError):
        return ""
