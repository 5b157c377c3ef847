"""A session of requests for the storage SDKs, which does only what their requests need.

The SDKs send a finished request: its URL is encoded and signed, and they follow redirects and retry themselves.
`requests.Session` would parse and encode the URL again, read the environment and two netrc files, and handle cookies,
for each request. That takes a fifth of a request's CPU time (docs/explanation/speed.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool

HOSTS = 8
"""Hosts that a session keeps connections to. An account has one for each service."""

_PLAIN_OPTIONS = frozenset({"allow_redirects", "cert", "proxies", "stream", "verify"})
"""Options of a request that `StorageSession` handles itself. They are the same for all requests of a transport."""


class StorageSession(requests.Session):
    """A session without cookies, hooks, redirects and netrc files.

    Args:
        max_idle: idle connections to a host that are kept. By default requests keeps ten and discards the others.
    """

    def __init__(self, *, max_idle: int) -> None:
        super().__init__()
        self._defaults = [(name, str(value)) for name, value in self.headers.items()]
        self._environment: dict[str, dict[str, Any]] = {}
        adapter = _Adapter(pool_connections=HOSTS, pool_maxsize=max_idle)
        self.mount("https://", adapter)
        self.mount("http://", adapter)

    def request(  # type: ignore[override]  # the arguments that azure-core passes
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        data: Any,
        timeout: tuple[float, float],
        files: Any = None,
        **options: Any,
    ) -> requests.Response:
        """Send a request of an SDK, and return the response."""
        if files or not (data is None or isinstance(data, bytes | str)) or options.keys() - _PLAIN_OPTIONS:
            return super().request(method, url, headers=headers, data=data, timeout=timeout, files=files, **options)
        request = requests.PreparedRequest()
        request.method = method
        request.url = url
        names = {name.lower() for name in headers}
        # A dict: the CaseInsensitiveDict of requests takes a method call for each access.
        merged = {name: value for name, value in self._defaults if name.lower() not in names} | dict(headers)
        request.headers = merged  # type: ignore[assignment]
        if data:
            request.body = data.encode() if isinstance(data, str) else data
            merged["Content-Length"] = str(len(request.body))
        elif method not in {"GET", "HEAD"}:
            merged.setdefault("Content-Length", "0")
        stream = bool(options.get("stream"))
        response = self.get_adapter(url).send(
            request, stream=stream, timeout=timeout, **self._environment_for(url, options)
        )
        if not stream:
            _ = response.content  # reads the body, which releases the connection
        return response

    def _environment_for(self, url: str, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the proxies and certificates for a host, which environment variables may name; read once a host."""
        host = _host(url)
        if host not in self._environment:
            proxies = dict(options.get("proxies") or {})
            merged = self.merge_environment_settings(url, proxies, None, options.get("verify"), options.get("cert"))
            self._environment[host] = {name: merged[name] for name in ("proxies", "verify", "cert")}
        return self._environment[host]


class _Adapter(HTTPAdapter):
    """An adapter that finds a host's connections at once, and returns responses without cookies."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._pools: dict[str, HTTPConnectionPool] = {}

    def get_connection_with_tls_context(
        self,
        request: requests.PreparedRequest,
        verify: Any,
        proxies: dict[str, str] | None = None,
        cert: Any = None,
    ) -> HTTPConnectionPool:
        """Return the connections to a host, for which a session's `verify`, proxies and `cert` do not change."""
        host = _host(request.url or "")
        pool = self._pools.get(host)
        if pool is None or pool.pool is None:  # None: closed, since there are more than HOSTS others
            pool = super().get_connection_with_tls_context(request, verify, proxies, cert)
            self._pools[host] = pool
        return pool

    def request_url(self, request: requests.PreparedRequest, proxies: dict[str, str] | None) -> str:
        """Return what the request line contains: with a proxy it may be the whole URL, otherwise path and query."""
        if proxies:
            return super().request_url(request, proxies)
        url = request.url or ""
        return url[len(_host(url)) :] or "/"

    def build_response(self, req: requests.PreparedRequest, resp: Any) -> requests.Response:
        """Return the response, as the inherited method does except for cookies and the encoding of text."""
        response = requests.Response()
        response.status_code = resp.status
        response.headers = resp.headers  # urllib3's mapping, which ignores case, too
        response.raw = resp
        response.reason = resp.reason
        response.url = req.url or ""
        response.request = req
        response.connection = self
        return response


def _host(url: str) -> str:
    """Return scheme, host and port of a URL, up to the path."""
    end = url.find("/", len("https://"))
    return url if end < 0 else url[:end]
