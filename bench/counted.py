"""`python -m bench.counted LOG CONNECTION_STRING WORD…`: run `mailroom`, and log its storage requests."""

from __future__ import annotations

import sys
from pathlib import Path

from bench.storage_requests import RequestLog


def main() -> None:
    """Run the command, and write the log also if it ends with an exit status."""
    from mailroom_cli.main import main as mailroom  # noqa: PLC0415  after the arguments are parsed

    log, connection_string, *words = sys.argv[1:]
    sys.argv = ["mailroom", *words]
    requests = RequestLog(connection_string)
    try:
        with requests.logging():
            mailroom()
    finally:
        requests.write(Path(log))


if __name__ == "__main__":
    main()
