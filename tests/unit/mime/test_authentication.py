"""A DMARC pass counts only if one of our servers recorded it above the trusted line."""

from __future__ import annotations

from functools import partial

import pytest

from shared.mime.authentication import dmarc_domain
from shared.mime.parser import parse
from tests.cpu_time import within

RECEIVED = "Received: from mail.customer.example (mail.customer.example [192.0.2.1]) by mx.example.com with ESMTPS id 1"
INNER = "Received: from mx.example.com by inner.example.com with LMTP id 2"
PASSED = "Authentication-Results: mx.example.com; dmarc=pass (p=reject dis=none) header.from=customer.example"
EXCHANGE_INNER = """Received: from AM6PR01.eurprd01.prod.outlook.com (2603:10a6::1) by
 DB8PR01.eurprd01.prod.outlook.com with HTTPS; Tue, 24 Nov 2026 09:00:02 +0000"""
EXCHANGE_RESULTS = """Authentication-Results: spf=pass (sender IP is 192.0.2.1)
 smtp.mailfrom=customer.example; dkim=pass (signature was verified)
 header.d=customer.example;dmarc=pass action=none header.from=customer.example;compauth=pass reason=100"""
EXCHANGE_OUTER = """Received: from mail.customer.example (192.0.2.1) by
 AM6EUR05FT01.mail.protection.outlook.com (10.0.0.1) with Microsoft SMTP Server
 (version=TLS1_3, cipher=TLS_AES_256_GCM_SHA384) id 15.20.1; Tue, 24 Nov 2026 09:00:01 +0000"""
QUOTING = """Authentication-Results: mx.example.com; spf=pass smtp.mailfrom="a; dmarc=fail"@x.example;
 dmarc=pass header.from=ann@customer.example"""


def domain(*head: str, hops: int = 1, received_by: str | None = None) -> str | None:
    lines = [
        line if "; Tue" in line or not line.startswith("Rec") else f"{line}; Tue, 24 Nov 2026 09:00:00 +0000"
        for line in head
    ]
    raw = "\r\n".join([*lines, "From: ann@customer.example", "", "text"]).encode()
    return dmarc_domain(parse(raw).trace, hops=hops, received_by=received_by)


@pytest.mark.parametrize(
    "field",
    [
        PASSED,
        "authentication-results:\r\n mx.example.com;\r\n\tdmarc=pass\r\n header.from=customer.example",
        "Authentication-Results: MX.Example.com.; dkim=fail header.d=x; DMARC=Pass header.from=Customer.EXAMPLE",
        "Authentication-Results: mx.example.com 1; dmarc/1=pass header.from=customer.example; spf=none",
        "Authentication-Results: example.com; dmarc=pass header.from=customer.example",
        QUOTING,
        "Authentication-Results: mx.example.com (of (us); dmarc=fail); dmarc=pass header.from=customer.example",
    ],
)
def test_4_1_a_dmarc_pass_that_our_server_recorded_counts(field: str) -> None:
    assert domain(field, RECEIVED) == "customer.example"
    assert domain(RECEIVED, field) is None
    assert domain(field) is None


@pytest.mark.parametrize(
    "field",
    [
        "Authentication-Results: mx.example.com; dmarc=fail header.from=customer.example",
        "Authentication-Results: mx.example.com; dmarc=bestguesspass header.from=customer.example",
        "Authentication-Results: mx.example.com; dmarc=pass",
        "Authentication-Results: mx.example.com; dmarc=pass header.from=a.example header.from=customer.example",
        "Authentication-Results: mx.example.com; dmarc=pass header.from=not_a..domain",
        "Authentication-Results: mx.example.com; spf=pass smtp.mailfrom=customer.example; dkim=pass header.d=x.example",
        "Authentication-Results: mx.example.com; arc=pass (dmarc=pass header.from=customer.example)",
        'Authentication-Results: mx.example.com; spf=pass smtp.helo="x; dmarc=pass header.from=customer.example"',
        "Authentication-Results: mx.example.com; none",
        "Authentication-Results: mx.example.com; dmarc=pass (header.from=customer.example",
        "Authentication-Results: mail.customer.example; dmarc=pass header.from=customer.example",
        "Authentication-Results: notmx.example.com; dmarc=pass header.from=customer.example",
        "Authentication-Results: com; dmarc=pass header.from=customer.example",
        "Authentication-Results: dmarc=pass header.from=customer.example",
        "Authentication-Results: ; dmarc=pass header.from=customer.example",
        "Authentication-Results:",
        "X-Authentication-Results: mx.example.com; dmarc=pass header.from=customer.example",
        "ARC-Authentication-Results: i=1; mx.example.com; dmarc=pass header.from=customer.example",
    ],
)
def test_4_3_nothing_else_authenticates_a_sender(field: str) -> None:
    assert domain(field, RECEIVED) is None


def test_4_3_two_results_that_differ_authenticate_no_sender() -> None:
    other = PASSED.replace("customer", "other")
    failed = PASSED.replace("pass", "fail")
    assert domain(PASSED, PASSED, RECEIVED) == "customer.example"
    assert domain(PASSED, other, RECEIVED) is None
    assert domain(failed, PASSED, RECEIVED) is None
    assert domain(PASSED + "; dmarc=fail header.from=customer.example", RECEIVED) is None
    assert domain(PASSED, RECEIVED, failed) == "customer.example", "what is below the line is anyone's"


@pytest.mark.parametrize(
    "written", ["dmarc = fail", "dmarc =fail", "dmarc= fail", "dmarc (policy) = fail", "dmarc /1=fail"]
)
def test_4_3_a_result_with_white_space_is_not_a_pass_and_contradicts_a_pass(written: str) -> None:
    """RFC 8601 section 2.2 allows comments and white space around the equals sign."""
    failed = f"Authentication-Results: mx.example.com; {written} header.from=customer.example"
    assert domain(failed, RECEIVED) is None
    assert domain(failed, PASSED, RECEIVED) is None
    assert domain(PASSED, failed, RECEIVED) is None


def test_4_3_the_settings_select_the_trusted_line() -> None:
    assert domain(INNER, PASSED, RECEIVED) is None
    assert domain(INNER, PASSED, RECEIVED, hops=2) == "customer.example"
    assert domain(INNER, PASSED, RECEIVED, hops=2, received_by="mx.example.com") == "customer.example"
    assert domain(INNER, PASSED, RECEIVED, hops=2, received_by="mx.other.example") is None
    assert domain(INNER, RECEIVED, PASSED, hops=2) is None
    assert domain(INNER, PASSED, hops=2) is None


def test_4_1_exchange_online_omits_the_authserv_id() -> None:
    assert domain(EXCHANGE_INNER, EXCHANGE_RESULTS, EXCHANGE_OUTER, hops=2) == "customer.example"
    assert domain(EXCHANGE_INNER, EXCHANGE_RESULTS, EXCHANGE_OUTER) is None
    assert domain(EXCHANGE_RESULTS, RECEIVED) is None, "another server must name itself"
    fake = RECEIVED.replace("mx.example.com", "mx.outlook.com.customer.example")
    assert domain(EXCHANGE_RESULTS, fake) is None


def test_7_6_hostile_fields_take_linear_time() -> None:
    for value in ("(" * 500_000, ";" * 500_000, "dmarc=pass header.from=a.example;" * 20_000, '"' * 500_001):
        results = f"Authentication-Results: mx.example.com; {value}"
        within(2, partial(domain, results, RECEIVED))
