"""docs/reference/telemetry.md lists all metrics."""

from __future__ import annotations

import re
from pathlib import Path

from shared.observability import metric_names

DOCS = Path(__file__).resolve().parents[2] / "docs" / "reference" / "telemetry.md"


def test_the_docs_list_exactly_the_metrics() -> None:
    listed = re.findall(r"^\| `(mailroom\.[a-z._]+)` \| (?:counter|histogram|gauge) ", DOCS.read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(metric_names.ALL)
