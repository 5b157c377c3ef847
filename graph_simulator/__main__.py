"""`python -m graph_simulator`: run the simulator alone until it is interrupted."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

from graph_simulator.app_registrations import DIRECTORY, WRITE
from graph_simulator.certificates import create_certificate
from graph_simulator.simulator import GraphSimulator


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the simulator with one app registration, and print how to reach it.

    Args:
        arguments: command line arguments; None: those of the process.

    Returns:
        Exit status: 0 after SIGINT or SIGTERM, 1 if the simulator cannot be started.
    """
    options = _parser().parse_args(arguments)
    mailboxes = options.mailbox or ["support@example.com"]
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    with tempfile.TemporaryDirectory(prefix="graph-simulator-") as temporary:
        folder = options.folder or Path(temporary)
        try:
            files = create_certificate(folder)
            simulator = GraphSimulator(certificate=files.certificate, key=files.key, port=options.port)
        except OSError as error:
            cause = error.__cause__ or error
            print(f"error: the simulator cannot be started: {cause}; check --port and --folder", file=sys.stderr)
            return 1
        with simulator:
            for address in mailboxes:
                simulator.mailbox(address)
            app = simulator.register(permissions=(WRITE, DIRECTORY))
            print(
                f"GRAPH_ENDPOINT={simulator.endpoint}\n"
                f"SIGN_IN_AUTHORITY={simulator.url}\n"
                f"TENANT_ID={simulator.tenant}\n"
                f"CLIENT_ID={app.client_id}\n"
                f"CLIENT_SECRET={app.secret}\n"
                f"CA_FILE={files.ca_file}\n"
                f"MAILBOXES={','.join(mailboxes)}\n"
                "\n"
                "Deliver a message (add /FOLDER after the address for a folder other than the inbox):\n"
                f"  curl --cacert {files.ca_file} --data-binary @message.eml \\\n"
                f"    {simulator.url}/simulator/mailboxes/{mailboxes[0]}\n"
                "\n"
                "Press Ctrl+C to stop.",
                flush=True,
            )
            stopped.wait()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m graph_simulator", description="Run a simulator of Microsoft Graph's mail API on this machine."
    )
    parser.add_argument(
        "--mailbox",
        metavar="ADDRESS",
        action="append",
        help="address of a mailbox; may be given several times (default: support@example.com)",
    )
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1 (default: any free port)")
    parser.add_argument(
        "--folder", type=Path, help="folder for the certificates (default: a temporary folder, removed at the end)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
