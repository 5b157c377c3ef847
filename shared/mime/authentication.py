"""Which domain a receiving server of ours found to be the sender's: its `Authentication-Results` (RFC 8601, RFC 7489).

Anyone can write such a field. One counts only above the trusted `Received` line, where our own servers write, and only
if it names one of the servers that wrote the lines there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from shared.addresses import normalise_domain
from shared.mime.delivery_headers import AUTHENTICATION_RESULTS, RECEIVED, received_by_host, same_host, tokens

WITHOUT_ID = (".outlook.com",)
"""Ends of the names of servers that write the field without an authserv-id, which RFC 8601 section 2.2 requires.

Exchange Online: `Authentication-Results: spf=pass (sender IP is …) smtp.mailfrom=…; dmarc=pass action=none …`
(learn.microsoft.com/defender-office-365/message-headers-eop-mdo, "Authentication-results message header").
"""


def dmarc_domain(trace: Iterable[tuple[str, str]], *, hops: int = 1, received_by: str | None = None) -> str | None:
    """Return the domain in From for which our receiving servers recorded a DMARC pass.

    Args:
        trace: `Message.trace`.
        hops: the line that is trusted: the n-th `Received` from the top.
        received_by: the host that must have written that line; None is any.

    Returns:
        A normalised domain. None if no field that counts has a DMARC result, or if one of several is not a pass for
        this domain.
    """
    above = _above_trusted_line(trace, hops, received_by)
    if above is None:
        return None
    fields, hosts = above
    results = [result for text in fields for result in _dmarc_results(text, hosts)]
    domains = {domain for _, domain in results}
    if len(domains) != 1 or any(result != "pass" for result, _ in results):
        return None
    return domains.pop()


def _above_trusted_line(
    trace: Iterable[tuple[str, str]], hops: int, received_by: str | None
) -> tuple[list[str], list[str | None]] | None:
    """The fields above the trusted line, and the hosts that wrote the `Received` lines up to it; None without one."""
    fields: list[str] = []
    hosts: list[str | None] = []
    for name, text in trace:
        where = name.lower()
        if where == AUTHENTICATION_RESULTS:
            fields.append(text)
        elif where == RECEIVED:
            hosts.append(received_by_host(text))
            if len(hosts) == hops:
                trusted = received_by is None or same_host(hosts[-1], received_by)
                return (fields, hosts) if trusted else None
    return None


def _dmarc_results(text: str, hosts: list[str | None]) -> Iterator[tuple[str, str | None]]:
    """The DMARC results of a field, each with the domain in From; none if no server of ours wrote the field.

    Comments are skipped and quoted strings are whole words, so that an address that the field quotes is no result.
    """
    words = tokens(text)
    if words is None:
        return
    parts: list[list[str]] = [[]]
    for word in words:
        if word == ";":
            parts.append([])
        else:
            parts[-1].append(word)
    first = parts[0][0] if parts[0] else ""
    if "=" in first:
        if not (hosts[-1] or "").lower().rstrip(".").endswith(WITHOUT_ID):
            return
    elif not _is_ours(first, hosts):
        return
    for part in parts:
        method, _, result = part[0].partition("=") if part else ("", "", "")
        if method.partition("/")[0].lower() == "dmarc":
            # With white space around the equals sign, which RFC 8601 section 2.2 allows, the result is empty: no pass.
            named = [word.partition("=")[2] for word in part if word.lower().startswith("header.from=")]
            domain = normalise_domain(named[0].rpartition("@")[2]) if len(named) == 1 else None
            yield result.lower(), domain


def _is_ours(authserv_id: str, hosts: list[str | None]) -> bool:
    """Return whether an authserv-id names one of these hosts, or a domain of one (RFC 8601 section 2.5)."""
    ours = authserv_id.lower().rstrip(".")
    known = [host.lower().rstrip(".") for host in hosts if host is not None]
    return "." in ours and any(host == ours or host.endswith(f".{ours}") for host in known)
