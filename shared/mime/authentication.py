"""The sender's domain as authenticated by a receiving server: `Authentication-Results` (RFC 8601, RFC 7489).

Anyone can write such a field. A field counts only above the trusted `Received` line, where only our servers write. It
must also name a server that wrote one of the `Received` lines there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from shared.addresses import normalise_domain
from shared.mime.delivery_headers import AUTHENTICATION_RESULTS, RECEIVED, received_by_host, same_host, tokenize

NO_AUTHSERV_ID_SUFFIXES = (".outlook.com",)
"""Name suffixes of servers that omit the authserv-id, which RFC 8601 section 2.2 requires.

Exchange Online: `Authentication-Results: spf=pass (sender IP is …) smtp.mailfrom=…; dmarc=pass action=none …`
(learn.microsoft.com/defender-office-365/message-headers-eop-mdo, "Authentication-results message header").
"""


def dmarc_domain(trace: Iterable[tuple[str, str]], *, hops: int = 1, received_by: str | None = None) -> str | None:
    """Return the From domain for which our receiving servers recorded a DMARC pass.

    Args:
        trace: `Message.trace`.
        hops: the trusted line is the n-th `Received` from the top.
        received_by: the host that must have written that line; None accepts any host.

    Returns:
        A normalised domain. None if no counted field has a DMARC result, or if any result is not a pass for this
        domain.
    """
    trusted = _above_trusted_line(trace, hops, received_by)
    if trusted is None:
        return None
    fields, hosts = trusted
    results = [result for text in fields for result in _dmarc_results(text, hosts)]
    domains = {domain for _, domain in results}
    if len(domains) != 1 or any(result != "pass" for result, _ in results):
        return None
    return domains.pop()


def _above_trusted_line(
    trace: Iterable[tuple[str, str]], hops: int, received_by: str | None
) -> tuple[list[str], list[str | None]] | None:
    """Return the fields above the trusted line, and the hosts of the `Received` lines up to and including it.

    Returns:
        None without a trusted line, or without a field above it.
    """
    fields: list[str] = []
    lines: list[str] = []
    for name, text in trace:
        lower = name.lower()
        if lower == AUTHENTICATION_RESULTS:
            fields.append(text)
        elif lower == RECEIVED:
            lines.append(text)
            if len(lines) == hops:
                if not fields:
                    return None
                hosts = [received_by_host(line) for line in lines]
                trusted = received_by is None or same_host(hosts[-1], received_by)
                return (fields, hosts) if trusted else None
    return None


def _dmarc_results(text: str, hosts: list[str | None]) -> Iterator[tuple[str, str | None]]:
    """Return the DMARC results of a field, each with its From domain; none unless one of our servers wrote the field.

    Comments are skipped and quoted strings are single words, so that quoted text cannot become a result.
    """
    words = tokenize(text)
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
        if not (hosts[-1] or "").lower().rstrip(".").endswith(NO_AUTHSERV_ID_SUFFIXES):
            return
    elif not _is_ours(first, hosts):
        return
    for part in parts:
        method, _, result = part[0].partition("=") if part else ("", "", "")
        if method.partition("/")[0].lower() == "dmarc":
            # White space around the equals sign (RFC 8601 section 2.2) leaves the result empty, which is not a pass.
            from_values = [word.partition("=")[2] for word in part if word.lower().startswith("header.from=")]
            domain = normalise_domain(from_values[0].rpartition("@")[2]) if len(from_values) == 1 else None
            yield result.lower(), domain


def _is_ours(authserv_id: str, hosts: list[str | None]) -> bool:
    """Return whether an authserv-id names one of these hosts, or a domain of one of them (RFC 8601 section 2.5)."""
    authserv = authserv_id.lower().rstrip(".")
    normalised = [host.lower().rstrip(".") for host in hosts if host is not None]
    return "." in authserv and any(host == authserv or host.endswith(f".{authserv}") for host in normalised)
