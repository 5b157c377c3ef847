"""Each rule of docs/reference/rules.md has tests with its number."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_rule_has_a_test_with_its_number() -> None:
    rules = set(re.findall(r"^\| (\d+\.\d+) \|", (ROOT / "docs/reference/rules.md").read_text(), re.MULTILINE))
    tested = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        for name in re.findall(r"def (test_\w+)", path.read_text()):
            tested |= {".".join(pair) for pair in re.findall(r"(?<=_)(\d+)_(\d+)(?=_)", name)}
    assert len(rules) > 30
    assert rules - tested == set()
