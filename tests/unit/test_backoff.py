"""How long work waits that a service could not serve."""

from __future__ import annotations

import pytest

from shared.backoff import FIRST, LONGEST, service_backoff
from shared.errors import ServiceUnavailable


@pytest.mark.parametrize(("retries", "pause"), [(0, FIRST), (1, 60), (2, 120), (4, 480), (5, LONGEST), (500, LONGEST)])
def test_an_ill_service_is_asked_ever_more_seldom(retries: int, pause: float) -> None:
    assert service_backoff(ServiceUnavailable("ill"), retries) == pause


def test_an_ill_service_that_names_a_time_gets_it() -> None:
    assert service_backoff(ServiceUnavailable("ill", retry_after=5000), 0) == 5000
    assert service_backoff(ServiceUnavailable("ill", retry_after=1), 0) == FIRST
