"""What every log line of ours carries besides its words: which mailbox, arrival, message and route it is about.

The fields are attributes of the record, named as those of the spans are, so that telemetry shows them as columns; where
nobody collects attributes they stand at the end of the line as `[mailbox=support message=ab…]`. An error that is not
ours is logged by its class and where it came from: its text may quote a message.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType

from shared.errors import MailroomError
from shared.telemetry.attributes import named

LOGGER = "mailroom"

_about: ContextVar[Mapping[str, str]] = ContextVar("about", default=MappingProxyType({}))
_lock = threading.Lock()
_installed: list[str] = []


class Fault(Exception):
    """Stands for an error that is not ours: its class, without its text."""


@contextmanager
def about(**fields: str) -> Iterator[None]:
    """Say what the log lines within are about.

    Args:
        fields: `mailbox`, `arrival`, `message`, `route`: names, keys and ids alone.
    """
    token = _about.set({**_about.get(), **fields})
    try:
        yield
    finally:
        _about.reset(token)


def anonymous(error: BaseException) -> BaseException:
    """An error that may be told: itself if it is ours, else its class and its frames."""
    if isinstance(error, MailroomError):
        return error
    return Fault(type(error).__name__).with_traceback(error.__traceback__)


def structured(*, in_words: bool) -> None:
    """Give all records of ours their fields, from now on; the second call of a process does nothing.

    Args:
        in_words: at the end of the line, too.
    """
    with _lock:
        if _installed:
            return
        _installed.append(LOGGER)
        make = logging.getLogRecordFactory()

    def of_ours(*args: object, **kwargs: object) -> logging.LogRecord:
        record = make(*args, **kwargs)
        if record.name == LOGGER or record.name.startswith(LOGGER + "."):
            _complete(record, in_words=in_words)
        return record

    logging.setLogRecordFactory(of_ours)


def _complete(record: logging.LogRecord, *, in_words: bool) -> None:
    if record.exc_info is not None and record.exc_info[1] is not None:
        told = anonymous(record.exc_info[1])
        record.exc_info = (type(told), told, told.__traceback__)
    fields = _about.get()
    if not fields:
        return
    record.__dict__.update(named(**fields))
    if in_words:
        words = " ".join(f"{name}={value}" for name, value in fields.items())
        record.msg = f"{record.getMessage()} [{words}]"
        record.args = ()
