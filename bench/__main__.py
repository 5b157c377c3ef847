"""`python -m bench [PART …]`: measure speed, memory and requests, and print tables. It asserts nothing."""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Callable

import pytest

from bench import billing, drains, growth, growth_tables, latency, operations, parsing, readers, single, webhook
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
    "growth": lambda bench: (growth_tables.growth_tables if bench.tables else growth.growth)(bench),
    "webhook": webhook.webhook,
    "latency": latency.latency,
    "parser": parsing.parsing,
    "readers": readers.readers,
}


def main() -> None:
    """Run the named parts, or all parts."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"one of {', '.join(PARTS)}; default: all parts")
    parser.add_argument("--messages", type=int, default=2_000, help="messages in a drained mailbox (2000)")
    parser.add_argument("--whole-messages", type=int, default=300, help="messages drained and routed to a folder (300)")
    parser.add_argument("--azure-messages", type=int, default=100, help="messages drained into Azurite (100)")
    parser.add_argument("--runs", type=int, default=3, help="runs of each drain, of which the median counts (3)")
    parser.add_argument("--arrivals", type=int, default=100_000, help="arrivals in the store of `growth` (100000)")
    parser.add_argument("--tables", action="store_true", help="`growth` on tables (Azurite) instead of in a folder")
    arguments = parser.parse_args()
    numbers = (arguments.messages, arguments.whole_messages, arguments.azure_messages, arguments.runs)
    unknown = [part for part in arguments.parts if part not in PARTS]
    if unknown or min(*numbers, arguments.arrivals) < 1:
        parser.error(f"unknown part: {', '.join(unknown)}" if unknown else "numbers must be at least 1")

    logging.basicConfig(level=logging.ERROR)  # Mailroom warns of the benchmarks' settings, such as a missing route.
    began = time.monotonic()
    try:
        bench = Bench(*numbers, arrivals=arguments.arrivals, tables=arguments.tables)
        try:
            print(machine())
            for part in arguments.parts or PARTS:
                progress(part)
                PARTS[part](bench)
        finally:
            bench.close()
    except pytest.fail.Exception as missing:
        raise SystemExit(str(missing)) from None
    print(f"\n{time.monotonic() - began:.0f} s in total")


if __name__ == "__main__":
    main()
