"""The HTTP trigger: an aiohttp server with one route for each HTTP function."""

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
"""Largest request body in bytes, as in Azure Functions; a larger body gets the response 413."""

GRACE = 30.0
"""Seconds that running requests have to finish when the server closes."""

LOOPBACK = "127.0.0.1"

_WINDOWS = {"gzip": (31,), "x-gzip": (31,), "deflate": (zlib.MAX_WBITS, -zlib.MAX_WBITS)}
"""zlib window sizes by content coding. Some clients send `deflate` without the zlib header (RFC 9110, 8.4.1.2)."""

_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_PLACEHOLDER = re.compile(r"\{(\*?)([A-Za-z_][A-Za-z0-9_]*)(?::(int))?\}")
_SERVER_HEADERS = frozenset({"content-length", "transfer-encoding", "connection"})
"""Response headers that only the server sets."""


@dataclass(frozen=True, slots=True)
class HttpKeys:
    """The keys that callers must send, as `x-functions-key` or `?code=`. Without keys, every function is open.

    Attributes:
        function: keys that authorize calls of functions of level `function`.
        admin: keys that authorize calls of every function.
    """

    function: tuple[str, ...] = field(default=(), repr=False)
    admin: tuple[str, ...] = field(default=(), repr=False)

    def authorize(self, level: str, key: str) -> bool:
        """Return whether `key` authorizes a call of a function of that level."""
        if level == "anonymous" or not (self.function or self.admin):
            return True
        valid_keys = self.admin if level == "admin" else (*self.function, *self.admin)
        return any(hmac.compare_digest(key.encode("utf-8", "surrogateescape"), valid.encode()) for valid in valid_keys)


@dataclass(frozen=True, slots=True)
class HttpConfig:
    """The HTTP server's address and keys.

    Attributes:
        port: TCP port; 0 selects a free one.
        host: an address of this machine.
        keys: the keys that callers must send.
    """

    port: int = 7071
    host: str = LOOPBACK
    keys: HttpKeys = field(default_factory=HttpKeys)


class HttpServer:
    """Serves the app's HTTP functions.

    Args:
        functions: the app's functions; those without an HTTP trigger are ignored.
        invoker: runs the functions.
        config: address and keys.
        prefix: first part of every path.

    Raises:
        ConfigurationError: the address is reachable from other machines, and no keys are set.
        AppNotLoaded: the local host does not support a route's syntax.
    """

    def __init__(
        self, functions: Iterable[Function], invoker: FunctionInvoker, config: HttpConfig, prefix: str
    ) -> None:
        if not _is_loopback(config.host) and not (config.keys.function or config.keys.admin):
            raise ConfigurationError(
                f"HTTP on {config.host} is reachable from other machines: configure keys, or listen on {LOOPBACK}"
            )
        self._invoker = invoker
        self._config = config
        self._app = web.Application(client_max_size=MAX_BODY)
        self._runner: web.AppRunner | None = None
        self.urls: dict[str, str] = {}
        for function in functions:
            if isinstance(function.trigger, HttpTrigger):
                path = _aiohttp_path(prefix, function.trigger.route, function.name)
                self.urls[function.name] = path
                for method in function.trigger.methods or ("*",):
                    self._app.router.add_route(method, path, self._handler(function, function.trigger))

    async def open(self) -> int:
        """Start listening and return the port.

        Raises:
            ConfigurationError: the port is in use or not permitted.
        """
        # No access log: its lines would contain the keys in `?code=`.
        # No decompression by aiohttp: for a body that is not compressed, it logs a traceback and closes the connection.
        self._runner = web.AppRunner(
            self._app, access_log=None, handle_signals=False, shutdown_timeout=GRACE, auto_decompress=False
        )
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._config.host, self._config.port).start()
        except OSError as error:
            await self._runner.cleanup()
            address = f"{self._config.host}:{self._config.port}"
            raise ConfigurationError(f"HTTP cannot listen on {address}: {error.strerror}; use another port") from None
        port = int(self._runner.addresses[0][1])
        for name, path in self.urls.items():
            log.info("function %s: http://%s:%d%s", name, self._config.host, port, path)
        return port

    async def close(self) -> None:
        """Stop listening and wait up to `GRACE` seconds for running requests."""
        if self._runner is not None:
            await self._runner.cleanup()

    def _handler(self, function: Function, trigger: HttpTrigger) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            key = request.headers.get("x-functions-key") or request.query.get("code", "")
            if not self._config.keys.authorize(trigger.auth_level, key):
                return web.Response(status=401)
            try:
                content = await _to_rpc_request(request)
            except _UndecodableBody:
                return web.Response(status=400)
            traceparent = request.headers.get("traceparent", "")
            result = await self._invoker.invoke(
                function,
                {trigger.name: TypedData(http=content)},
                traceparent=traceparent if _TRACEPARENT.fullmatch(traceparent) else None,
            )
            if result.error is not None:
                return web.Response(status=500)
            return _to_web_response(result.return_value)

        return handle


class _UndecodableBody(Exception):
    """The body does not match its Content-Encoding."""


def _decompress(body: bytes, coding: str) -> bytes:
    """Return a body without its content coding (RFC 9110, section 8.4). An unknown coding is left unchanged.

    Raises:
        HTTPRequestEntityTooLarge: the decompressed body is larger than `MAX_BODY`.
        _UndecodableBody: the body does not have this coding, or data follows the compressed body.
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


async def _to_rpc_request(request: web.Request) -> RpcHttp:
    return RpcHttp(
        method=request.method,
        url=str(request.url),
        headers={name.lower(): ", ".join(request.headers.getall(name)) for name in request.headers},
        params=dict(request.match_info),
        query={name: ",".join(request.query.getall(name)) for name in request.query},
        body=TypedData(bytes=_decompress(await request.read(), request.headers.get("Content-Encoding", ""))),
    )


def _to_web_response(value: TypedData | None) -> web.Response:
    if value is None:
        return web.Response(status=204)
    if value.WhichOneof("data") != "http":
        return web.Response(text=str(value.string))
    http = value.http
    headers = {name: value for name, value in http.headers.items() if name.lower() not in _SERVER_HEADERS}
    return web.Response(status=int(http.status_code), body=http.body.bytes, headers=headers)


def _aiohttp_path(prefix: str, route: str, function: str) -> str:
    """Return a Functions route in aiohttp's syntax.

    Raises:
        AppNotLoaded: the route has a placeholder of another form.
    """
    rest = _PLACEHOLDER.sub("", route)
    if "{" in rest or "}" in rest:
        raise AppNotLoaded(
            f"function {function}: the local host does not support the route {route}; its placeholders must be "
            "{name}, {name:int} or {*name}"
        )

    def to_aiohttp(match: re.Match[str]) -> str:
        catch_all, name, kind = match.groups()
        pattern = ":.*" if catch_all else r":\d+" if kind else ""
        return f"{{{name}{pattern}}}"

    return "/".join(["", *filter(None, [prefix, _PLACEHOLDER.sub(to_aiohttp, route).strip("/")])])


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
