"""A POP3 session up to the maildrop: connection, TLS, what the server can do, sign-in; and its end.

RFC 1939, RFC 2449 (CAPA), RFC 2595 (STLS), RFC 5034 (AUTH), RFC 6856 (UTF8), and Microsoft's XOAUTH2 with the token on
a second line.
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
from shared.mailboxes.oauth.token_cache import xoauth2
from shared.mailboxes.pop3.errors import ProtocolViolation, command_error, sign_in_error
from shared.mailboxes.pop3.server_record import KNOWN_BROKEN
from shared.mailboxes.pop3.wire import Wire
from shared.mailboxes.tls import CONNECT_TIMEOUT, connect_socket, connecting, context_for, setting_name, wrap_socket


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds.

    Attributes:
        connect: for the connection, and again for the handshake.
        read: for any silence after that.
        goodbye: for a QUIT that commits nothing.
    """

    connect: float = CONNECT_TIMEOUT
    read: float = 60.0
    goodbye: float = 5.0


class Session:
    """A connection that is signed in.

    Args:
        settings: the mailbox's.
        tokens: gives an access token that is good now; asked only where the sign-in is by token.
        timeouts: how long to wait.

    Attributes:
        where: the mailbox and its server, for error texts.
        wire: what goes to and fro.

    Raises:
        ConnectFailed, TlsRefused, AuthenticationError, MailboxBusy, MailboxError, ConnectionLost: as they say.
    """

    def __init__(self, settings: MailboxSettings, tokens: Callable[[], str], timeouts: Timeouts) -> None:
        self.where = f"mailbox {settings.name} at {settings.host}:{settings.port}"
        self._settings = settings
        self._timeouts = timeouts
        self._capabilities: dict[str, str] | None = None
        self._greeting_text = ""
        self.wire = Wire(connect_socket(settings, timeout=timeouts.connect))
        try:
            self._greeting()
            with self.mapping():
                self._ask_capabilities()
            if settings.tls is Tls.STARTTLS:
                self._start_tls()
            with self.mapping():
                # Before the sign-in, and after STLS, which resets it (RFC 6856 section 2.1).
                in_utf8 = self._enable_utf8()
            self._sign_in(tokens)
            with self.mapping():
                # Some tell the rest only to those who are signed in (RFC 2449 section 5).
                self._ask_capabilities()
                if not in_utf8:
                    # Courier's older versions take it here only; proxies answer for themselves before the sign-in.
                    self._enable_utf8()
        except BaseException:
            self.drop()
            raise

    def can(self, capability: str) -> bool:
        """Whether the server says that it knows a capability."""
        return capability in (self._capabilities or {})

    def may(self, capability: str) -> bool:
        """Whether it may be tried: the server says so, or is too old to say anything."""
        return self._capabilities is None or capability in self._capabilities

    @property
    def pipelines(self) -> bool:
        """Whether the server offers PIPELINING, and is not known to break it."""
        implementation = (self._capabilities or {}).get("IMPLEMENTATION", "")
        return self.can("PIPELINING") and not KNOWN_BROKEN.search(f"{self._greeting_text}\n{implementation}")

    @property
    def login_delay(self) -> float | None:
        """Seconds from one sign-in to the next that the server asks for, if it does (RFC 2449 section 6.5)."""
        found = re.match(r"\d{1,6}", (self._capabilities or {}).get("LOGIN-DELAY", ""))
        return float(found[0]) if found else None

    @contextlib.contextmanager
    def mapping(self) -> Iterator[None]:
        """A context in which what breaks becomes one of our errors."""
        try:
            yield
        except ProtocolViolation as error:
            raise ConnectionLost(f"{self.where}: {error}") from error

    def quit(self) -> tuple[bool, str]:
        """QUIT, which commits what was deleted, and what the server answered. The connection is gone afterwards.

        Raises:
            ConnectionLost: there was no answer: it may have committed, or not.
        """
        try:
            with self.mapping():
                self.wire.send(b"QUIT")
                return self.wire.answer()
        finally:
            self.drop()

    def leave(self) -> None:
        """QUIT where nothing is to be committed, without insisting. Never raises."""
        with contextlib.suppress(Exception):
            self.wire.connection.settimeout(self._timeouts.goodbye)
            self.quit()
        self.drop()

    def drop(self) -> None:
        """Cut the connection: the server forgets what was deleted and not committed. Never raises."""
        with contextlib.suppress(Exception):
            self.wire.connection.close()

    def _greeting(self) -> None:
        with connecting(self._settings):
            try:
                ready, text = self.wire.answer()
            except ProtocolViolation as error:
                raise ConnectFailed(f"{self.where}: no POP3 greeting: {error}") from error
        self.wire.connection.settimeout(self._timeouts.read)
        if not ready:
            raise command_error(text, self.where, "the connection")
        self._greeting_text = text

    def _ask_capabilities(self) -> None:
        self.wire.send(b"CAPA")
        known, _ = self.wire.answer()
        if not known:
            return
        lines = [line.decode("ascii", "replace").strip() for line in self.wire.listing()]
        self._capabilities = {word.upper(): rest for word, _, rest in (line.partition(" ") for line in lines) if word}

    def _enable_utf8(self) -> bool:
        """Say UTF8 if the server offers it, as `UTF8` or `UTF8 USER`, and return whether it was accepted.

        Courier sends a substitute for a message with 8-bit headers to clients that did not. A refusal is not an error:
        the server then gives out what it did before RFC 6856.
        """
        if not self.can("UTF8"):
            return False
        self.wire.send(b"UTF8")
        return self.wire.answer()[0]

    def _start_tls(self) -> None:
        """RFC 2595 section 4. No sign-in without it."""
        tls = setting_name(self._settings, "TLS")
        if not self.can("STLS"):
            raise TlsRefused(
                f"{self.where}: the server does not offer STLS; set {tls}=implicit, and its port, if it can"
            )
        context = context_for(self._settings)
        with self.mapping():
            self.wire.send(b"STLS")
            begun, text = self.wire.answer()
        if not begun:
            raise TlsRefused(
                f"{self.where}: STLS was refused: {printable(text)}; set {tls}=implicit, and its port, if it can"
            )
        with connecting(self._settings):
            self.wire.connection.settimeout(self._timeouts.connect)
            self.wire.replace(wrap_socket(self.wire.connection, context, self._settings))
            self.wire.connection.settimeout(self._timeouts.read)
        with self.mapping():
            # What was said in the clear may have been anybody's.
            self._capabilities = None
            self._ask_capabilities()

    def _sign_in(self, tokens: Callable[[], str]) -> None:
        failure = self._try_sign_in(tokens)
        if failure is not None:
            # Raised here, so that neither its chain nor its frames hold the secret.
            failure.__cause__ = failure.__context__ = failure.__traceback__ = None
            raise failure

    def _try_sign_in(self, tokens: Callable[[], str]) -> MailroomError | None:
        """Sign in, or say why not."""
        settings = self._settings
        try:
            secret = _secret(settings, tokens)
            if settings.sign_in is SignIn.PASSWORD:
                accepted, text = self._password(secret)
                remedy = f"{setting_name(settings, 'USERNAME')} and {setting_name(settings, 'PASSWORD')}"
            else:
                accepted, text = self._token(secret)
                remedy = (
                    f"{setting_name(settings, 'ADDRESS')}, and at the app's rights to the mailbox (POP.AccessAsApp)"
                )
        except MailroomError as error:
            return error
        except ProtocolViolation as error:
            return ConnectionLost(f"{self.where}: {error}")
        if accepted:
            return None
        # A server may repeat the line that it did not like.
        text = text.replace(secret, "…") if secret else text
        return sign_in_error(text, self.where, remedy, login_delay=self.login_delay)

    def _password(self, password: str) -> tuple[bool, str]:
        login = self._settings.login
        if re.search(r"[\r\n\0]", login + password):
            raise AuthenticationError(f"{self.where}: USERNAME or PASSWORD holds a line break")
        mechanisms = (self._capabilities or {}).get("SASL", "").upper().split()
        if "PLAIN" in mechanisms and not self.may("USER"):
            return self._sasl(b"PLAIN", f"\0{login}\0{password}".encode())
        self.wire.send(b"USER " + login.encode())
        accepted, text = self.wire.answer()
        if accepted:
            self.wire.send(b"PASS " + password.encode())
            accepted, text = self.wire.answer()
        return accepted, text

    def _token(self, token: str) -> tuple[bool, str]:
        return self._sasl(b"XOAUTH2", xoauth2(self._settings.mailbox_address, token))

    def _sasl(self, mechanism: bytes, response: bytes) -> tuple[bool, str]:
        """AUTH, with what is to be said on a line of its own (RFC 5034; Exchange Online takes it no other way)."""
        self.wire.send(b"AUTH " + mechanism)
        challenge = self.wire.line()
        if not challenge.startswith(b"+") or challenge[:3].upper() == b"+OK":
            return False, challenge.decode("utf-8", "replace").removeprefix("-ERR").strip()
        secret = base64.b64encode(response)
        self.wire.send(secret)
        line = self.wire.line()
        status = ""
        if line.startswith(b"+") and line[:3].upper() != b"+OK":
            # The server says why in another challenge, and refuses when that is answered with nothing.
            status = _status(line[1:])
            self.wire.send(b"")
            line = self.wire.line()
        text = line.replace(secret, b"...").decode("utf-8", "replace")
        if line[:3].upper() == b"+OK":
            return True, text
        return False, f"{text.removeprefix('-ERR').strip()}{status}"


def open_session(settings: MailboxSettings, tokens: Callable[[], str], timeouts: Timeouts) -> Session:
    """A session; with another token, once, if the server refused one and there is another by now (rule 1.4)."""
    used: list[bytes] = []

    def token() -> str:
        given = tokens()
        used.append(hashlib.sha256(given.encode()).digest())
        return given

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
    """`status` of the JSON that a refused token is answered with."""
    try:
        told = json.loads(base64.b64decode(challenge.strip()))
        return f" (status {printable(told['status'], 40)})"
    except (ValueError, KeyError, TypeError):
        return ""
