"""The HTTP trigger: an aiohttp server, one route for each HTTP function."""

from __future__ import annotations

import hmac
import ipaddress
import logging
import re
import zlib
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from aiohttp import web

from functions_host.function_index import AppNotLoaded, Function, HttpTrigger
from functions_host.invoker import FunctionInvoker
from functions_host.worker_messages import RpcHttp, TypedData
from shared.errors import ConfigurationError

log = logging.getLogger("mailroom.host")

MAX_BODY = 100 * 1024 * 1024
"""The largest request body in bytes, as the platform has it; a larger one is answered with 413."""

GRACE = 30.0
"""Seconds that requests are waited for when the server closes."""

LOOPBACK = "127.0.0.1"

_WINDOWS = {"gzip": (31,), "x-gzip": (31,), "deflate": (zlib.MAX_WBITS, -zlib.MAX_WBITS)}
"""How zlib is to read a content coding; `deflate` has been sent without its zlib header as well."""

_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_PLACEHOLDER = re.compile(r"\{(\*?)([A-Za-z_][A-Za-z0-9_]*)(?::(int))?\}")
_OURS = frozenset({"content-length", "transfer-encoding", "connection"})
"""Response headers that are the server's to set."""


@dataclass(frozen=True, slots=True)
class HttpKeys:
    """The keys that callers must bring, as `x-functions-key` or `?code=`. Without any, every level is open.

    Attributes:
        function: any of them opens functions of level `function`.
        admin: any of them opens every function.
    """

    function: tuple[str, ...] = field(default=(), repr=False)
    admin: tuple[str, ...] = field(default=(), repr=False)

    def open(self, level: str, key: str) -> bool:
        """Whether `key` opens a function of that level."""
        if level == "anonymous" or not (self.function or self.admin):
            return True
        good = self.admin if level == "admin" else (*self.function, *self.admin)
        return any(hmac.compare_digest(key.encode("utf-8", "surrogateescape"), known.encode()) for known in good)


@dataclass(frozen=True, slots=True)
class HttpConfig:
    """Where to listen.

    Attributes:
        port: 0 takes a free one.
        host: an address of this machine.
        keys: who may call.
    """

    port: int = 7071
    host: str = LOOPBACK
    keys: HttpKeys = field(default_factory=HttpKeys)


class HttpServer:
    """Serves the app's HTTP functions.

    Args:
        functions: all; those with another trigger are left out.
        running: runs them.
        config: where, and who may call.
        prefix: what the paths begin with.

    Raises:
        ConfigurationError: an address that others can reach, and no keys.
        AppNotLoaded: a route that the local host does not understand.
    """

    def __init__(
        self, functions: Iterable[Function], running: FunctionInvoker, config: HttpConfig, prefix: str
    ) -> None:
        if not _is_loopback(config.host) and not (config.keys.function or config.keys.admin):
            raise ConfigurationError(
                f"HTTP on {config.host} can be reached from outside: give the host keys, or use {LOOPBACK}"
            )
        self._running = running
        self._config = config
        self._app = web.Application(client_max_size=MAX_BODY)
        self._runner: web.AppRunner | None = None
        self.urls: dict[str, str] = {}
        for function in functions:
            if isinstance(function.trigger, HttpTrigger):
                path = _path(prefix, function.trigger.route, function.name)
                self.urls[function.name] = path
                for method in function.trigger.methods or ("*",):
                    self._app.router.add_route(method, path, self._handler(function, function.trigger))

    async def open(self) -> int:
        """Listen: the port.

        Raises:
            ConfigurationError: the port is taken or forbidden.
        """
        # No access log: its lines would hold `?code=`.
        # aiohttp's own decompression logs a traceback for a body that is not compressed, and closes the connection.
        self._runner = web.AppRunner(
            self._app, access_log=None, handle_signals=False, shutdown_timeout=GRACE, auto_decompress=False
        )
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._config.host, self._config.port).start()
        except OSError as error:
            await self._runner.cleanup()
            where = f"{self._config.host}:{self._config.port}"
            raise ConfigurationError(f"HTTP cannot listen on {where}: {error.strerror}; name another port") from None
        port = int(self._runner.addresses[0][1])
        for name, path in self.urls.items():
            log.info("function %s: http://%s:%d%s", name, self._config.host, port, path)
        return port

    async def close(self) -> None:
        """Stop listening, and wait a bounded time for the requests that are being answered."""
        if self._runner is not None:
            await self._runner.cleanup()

    def _handler(self, function: Function, trigger: HttpTrigger) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            key = request.headers.get("x-functions-key") or request.query.get("code", "")
            if not self._config.keys.open(trigger.auth_level, key):
                return web.Response(status=401)
            try:
                content = await _request(request)
            except _UndecodableBody:
                return web.Response(status=400)
            given = request.headers.get("traceparent", "")
            result = await self._running.invoke(
                function,
                {trigger.name: TypedData(http=content)},
                traceparent=given if _TRACEPARENT.fullmatch(given) else None,
            )
            if result.error is not None:
                return web.Response(status=500)
            return _response(result.return_value)

        return handle


class _UndecodableBody(Exception):
    """A body is not what its Content-Encoding says."""


def _decompressed(body: bytes, coding: str) -> bytes:
    """Return a body without its content coding (RFC 9110 section 8.4); an unknown coding is the function's to judge.

    Raises:
        HTTPRequestEntityTooLarge: it is larger than a body may be.
        _UndecodableBody: it is not of this coding, or something follows what is.
    """
    windows = _WINDOWS.get(coding.strip().lower(), ()) if body else ()
    for bits in windows:
        decompressor = zlib.decompressobj(bits)
        try:
            content = decompressor.decompress(body, MAX_BODY + 1)
        except zlib.error:
            continue
        if len(content) > MAX_BODY:
            raise web.HTTPRequestEntityTooLarge(max_size=MAX_BODY, actual_size=len(content))
        # What follows is lost to the function, unless the caller learns of it.
        if decompressor.eof and not decompressor.unused_data:
            return content
    if windows:
        raise _UndecodableBody
    return body


async def _request(request: web.Request) -> RpcHttp:
    return RpcHttp(
        method=request.method,
        url=str(request.url),
        headers={name.lower(): ", ".join(request.headers.getall(name)) for name in request.headers},
        params=dict(request.match_info),
        query={name: ",".join(request.query.getall(name)) for name in request.query},
        body=TypedData(bytes=_decompressed(await request.read(), request.headers.get("Content-Encoding", ""))),
    )


def _response(returned: TypedData | None) -> web.Response:
    if returned is None:
        return web.Response(status=204)
    if returned.WhichOneof("data") != "http":
        return web.Response(text=str(returned.string))
    http = returned.http
    headers = {name: value for name, value in http.headers.items() if name.lower() not in _OURS}
    return web.Response(status=int(http.status_code), body=http.body.bytes, headers=headers)


def _path(prefix: str, route: str, function: str) -> str:
    """A Functions route as aiohttp writes it."""
    rest = _PLACEHOLDER.sub("", route)
    if "{" in rest or "}" in rest:
        raise AppNotLoaded(
            f"function {function}: the local host knows {{name}}, {{name:int}} and {{*name}} in routes, not {route}"
        )

    def placeholder(match: re.Match[str]) -> str:
        everything, name, kind = match.groups()
        pattern = ":.*" if everything else r":\d+" if kind else ""
        return f"{{{name}{pattern}}}"

    return "/".join(["", *filter(None, [prefix, _PLACEHOLDER.sub(placeholder, route).strip("/")])])


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
