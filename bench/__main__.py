"""`python -m bench [PART …]`: how fast, with how much memory, with how many requests. Asserts nothing."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import pytest

from bench import billing, drains, operations, parsing, readers, single, webhook
from bench.report import progress
from bench.running import Bench, machine

PARTS: dict[str, Callable[[Bench], None]] = {
    "imap": drains.imap,
    "pop3": drains.pop3,
    "whole": drains.whole,
    "azure": drains.azure,
    "operations": operations.operations,
    "billing": billing.billing,
    "memory": single.memory,
    "startup": single.startup,
    "webhook": webhook.webhook,
    "parser": parsing.parsing,
    "readers": readers.readers,
}


def main() -> None:
    """Run the parts that are named, or all."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all without")
    parser.add_argument("--messages", type=int, default=2_000, help="in the mailbox that is drained (2000)")
    parser.add_argument("--whole-messages", type=int, default=300, help="taken and sorted into a folder (300)")
    parser.add_argument("--azure-messages", type=int, default=150, help="into Azurite (150)")
    parser.add_argument("--runs", type=int, default=3, help="of each drain; the median counts (3)")
    given = parser.parse_args()
    unknown = [part for part in given.parts if part not in PARTS]
    if unknown or min(given.messages, given.whole_messages, given.azure_messages, given.runs) < 1:
        parser.error(f"no such part: {', '.join(unknown)}" if unknown else "counts begin at 1")

    began = time.monotonic()
    try:
        bench = Bench(given.messages, given.whole_messages, given.azure_messages, given.runs)
        try:
            print(machine())
            for part in given.parts or PARTS:
                progress(part)
                PARTS[part](bench)
        finally:
            bench.close()
    except pytest.fail.Exception as missing:
        raise SystemExit(str(missing)) from None
    print(f"\n{time.monotonic() - began:.0f} s in all")


if __name__ == "__main__":
    main()
