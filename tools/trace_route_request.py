"""Print the project's modules that one plain route request enters, from its queue message to its result.

    python -m tools.trace_route_request [CHECKOUT]

The script drains two plain messages into folder storage, one after the other, runs the function `route_message` on
their route requests, and records every project file that has a function called meanwhile. It prints the modules of the
second request, and the number of modules of the first, which also reads the routes. Import time does not count, and
shared/mime counts as one module. CHECKOUT is the folder of another version of the project; `NAMES` lists
the names that differ between versions.
"""

from __future__ import annotations

import importlib
import inspect
import json
import logging
import sys
import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any, Final, Self

ROOT: Final = Path(__file__).resolve().parents[1]

PRODUCT: Final = ("shared", "route_message")
"""The packages whose modules count."""

NAMES: Final = {
    "shared/bootstrap.py": {
        "load_settings": "shared.config:load_settings",
        "open_storage": "shared.storage.factory:open_storage",
        "build_app": "shared.bootstrap:build_app",
        "install_app": "shared.bootstrap:install_app",
        "ListedMessage": "shared.mailboxes.base:ListedMessage",
        "FetchResult": "shared.mailboxes.base:FetchResult",
        "content": "shared.mailboxes.spool:Content.from_bytes",
        "Poll": "shared.queue_messages:Poll",
        "reason": "shared.queue_messages:PollReason.MANUAL",
        "queue": "shared.storage.base:QueueName.ROUTE_REQUESTS",
        "mime": "shared/mime",
    },
    "shared/wiring.py": {
        "load_settings": "shared.settings:read_settings",
        "open_storage": "shared.storage.opening:open_stores",
        "build_app": "shared.wiring:wire",
        "install_app": "shared.wiring:use",
        "ListedMessage": "shared.mailboxes.protocol:Listed",
        "FetchResult": "shared.mailboxes.protocol:Fetched",
        "content": "shared.mailboxes.spool:Content.of",
        "Poll": "shared.queued:Poll",
        "reason": "shared.queued:Reason.BY_HAND",
        "queue": "shared.storage.protocol:QueueName.ARRIVALS",
        "mime": "shared/mail",
    },
}
"""Names by version. A version is recognised by a file that only it has."""

SETTINGS: Final = {
    "POLL_SCHEDULE": "0 * * * * *",
    "MAILBOXES__support__PROTOCOL": "imap",
    "MAILBOXES__support__HOST": "127.0.0.1",
    "MAILBOXES__support__ADDRESS": "support@example.com",
    "MAILBOXES__support__PASSWORD": "not-used",
    "ROUTES__sales__ADDRESS": "sales@example.com",
}

MESSAGES: Final = tuple(
    b"Received: from mx.example.com by mail.example.com; Mon, 23 Nov 2026 09:00:00 +0000\r\n"
    b"From: Ann <ann@customer.example>\r\nTo: sales@example.com\r\nSubject: Ten chairs, please\r\n"
    b"Date: Mon, 23 Nov 2026 09:00:00 +0000\r\nMessage-ID: <%d@customer.example>\r\nMIME-Version: 1.0\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\n\r\nThis is order %d.\r\n" % (number, number)
    for number in (1, 2)
)


class Version:
    """A checkout of the project, whose objects are found by the names of `NAMES`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.names = next(names for file, names in NAMES.items() if (root / file).is_file())
        sys.path.insert(0, str(root))

    def get(self, name: str) -> Any:
        """Return the object that has this name in the table."""
        module, _, attributes = self.names[name].partition(":")
        value: Any = importlib.import_module(module)
        assert Path(str(value.__file__)).is_relative_to(self.root), f"{value.__file__} is not in {self.root}"
        for attribute in attributes.split("."):
            value = getattr(value, attribute)
        return value


class PlainMailbox:
    """A session with a mailbox that has one message.

    Args:
        version: the version whose objects are returned.
        number: the message's position in `MESSAGES`.
    """

    folders: Sequence[str] = ("INBOX",)
    commit_every: int | None = None
    key_prefix: str | None = "1."

    def __init__(self, version: Version, number: int) -> None:
        self._version = version
        self._number = number
        self._removed = False

    def list(self, folder: str, **_options: object) -> Sequence[Any]:
        """Return the message, until it is removed."""
        del folder
        listed = self._version.get("ListedMessage")
        numbers = [] if self._removed else [self._number]
        return [listed(f"1.{number}", number, len(MESSAGES[number])) for number in numbers]

    def fetch(self, batches: Iterable[Sequence[Any]], **_options: object) -> Generator[Sequence[Any], None, None]:
        """Yield the message."""
        content = self._version.get("content")
        for batch in batches:
            yield [self._version.get("FetchResult")(listed, content(MESSAGES[listed.number])) for listed in batch]

    def remove(self, messages: Sequence[Any]) -> None:
        """Remove the message."""
        self._removed = self._removed or bool(messages)

    def mark(self, processed: object) -> None:
        """Return None: there is no watermark."""

    watermark = mark

    def commit(self) -> None:
        """Do nothing: `remove` is final."""

    close = commit

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None: ...


class QueueMessage:
    """A message of the queue trigger, at its first try."""

    dequeue_count = 1

    def __init__(self, body: str) -> None:
        self._body = body

    def get_body(self) -> bytes:
        """Return the body as the trigger supplies it."""
        return self._body.encode()


def trace(root: Path, call: Callable[[], object]) -> list[str]:
    """Return the files below `root` that have a function called during `call`, in the order of their first call."""
    files: dict[str, None] = {}

    def profile(frame: FrameType, event: str, _argument: object) -> None:
        # Module and class bodies have no CO_OPTIMIZED: they run at import time.
        if event == "call" and frame.f_code.co_flags & inspect.CO_OPTIMIZED:
            files.setdefault(frame.f_code.co_filename)

    threading.setprofile(profile)
    sys.setprofile(profile)
    try:
        call()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    paths = (Path(file) for file in files)
    return [path.relative_to(root).as_posix() for path in paths if path.is_relative_to(root)]


def modules_of_route_requests(root: Path) -> list[list[str]]:
    """Return the modules that each of the two route requests enters, in order; those of shared/mime as one."""
    version = Version(root)
    with TemporaryDirectory(prefix="mailroom-trace-") as folder:
        settings = version.get("load_settings")({**SETTINGS, "AzureWebJobsStorage": f"folder:{folder}/mail"})
        storage = version.get("open_storage")(settings.app_storage, settings.mail_storage, settings.mail_container)
        app = version.get("build_app")(settings, storage)
        mailboxes = iter([PlainMailbox(version, number) for number in range(len(MESSAGES))])
        app = replace(app, poller=replace(app.poller, connect=lambda _settings: next(mailboxes)))
        version.get("install_app")(app)
        for _ in MESSAGES:  # Messages that are collected together have one route request.
            app.poller.poll(version.get("Poll")("support", version.get("reason")))
        function = importlib.import_module("route_message").route_message._function.get_user_function()  # noqa: SLF001
        items = storage.queues[version.get("queue")].receive(32, hidden_for=60)
        requests = [QueueMessage(item.body) for item in items]
        traces = [trace(root, partial(function, request)) for request in requests]
        results = [json.loads(storage.blobs.read(path)) for path in storage.blobs.list("routed/")]
        assert [result["recipient"] for result in results] == ["sales@example.com"] * len(MESSAGES)
        storage.close()
    mime = version.names["mime"]
    modules = (
        [mime if file.startswith(f"{mime}/") else file for file in files if file.split("/")[0] in PRODUCT]
        for files in traces
    )
    return [list(dict.fromkeys(names)) for names in modules]


def main() -> None:
    """Print the modules and their number."""
    logging.getLogger("mailroom").addHandler(logging.NullHandler())  # no route for support@example.com is intended
    first, second = modules_of_route_requests(Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else ROOT)
    for module in second:
        print(module)  # noqa: T201
    print(f"{len(second)} modules; {len(first)} in the first request of a process")  # noqa: T201


if __name__ == "__main__":
    main()
