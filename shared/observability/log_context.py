"""What every log line of ours carries besides its words: which mailbox, arrival, message and route it is about.

The fields are attributes of the record, named as those of the spans are, so that telemetry shows them as columns; where
nobody collects attributes they stand at the end of the line as `[mailbox=support message=ab…]`. An error that is not
ours is logged by its class and where it came from, and so is none that one of ours came of: its text may quote a
message. Addresses, which servers like to put into their answers, are left out above the level DEBUG.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Final

from shared.errors import MailroomError
from shared.observability.attributes import span_name

LOGGER = "mailroom"

ADDRESS: Final = re.compile(r"[^\s@<>()\[\]\"',;:/]{1,64}@[^\s@<>()\[\]\"',;:/]{1,255}")
"""What looks like one."""

MASK: Final = "(address)"

_about: ContextVar[Mapping[str, str]] = ContextVar("about", default=MappingProxyType({}))
_lock = threading.Lock()
_installed: list[str] = []


class ScrubbedError(Exception):
    """Stands for an error that is not ours: its class, without its text."""


@contextmanager
def bind(**fields: str) -> Iterator[None]:
    """Say what the log lines within are about.

    Args:
        fields: `mailbox`, `arrival`, `message`, `route`: names, keys and ids alone.
    """
    token = _about.set({**_about.get(), **fields})
    try:
        yield
    finally:
        _about.reset(token)


def scrub(error: BaseException) -> BaseException:
    """An error that may be told: itself if it is ours, else its class and its frames."""
    if isinstance(error, MailroomError):
        return error
    return ScrubbedError(type(error).__name__).with_traceback(error.__traceback__)


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
        told = _told(record.exc_info[1])
        record.exc_info = (type(told), told, told.__traceback__)
    fields = _about.get()
    record.__dict__.update(span_name(**fields))
    try:
        text = record.getMessage()
    except Exception:  # noqa: BLE001  whoever logs is not to fail for it; the handlers say what is wrong with the line
        return
    if record.levelno > logging.DEBUG:
        text = ADDRESS.sub(MASK, text)
    if in_words and fields:
        text += f" [{' '.join(f'{name}={value}' for name, value in fields.items())}]"
    record.msg, record.args = text, ()


def _told(error: BaseException) -> ScrubbedError:
    """An error as a log line may show it: without those that it came of, and if it is not ours without its text."""
    name = type(error).__name__
    text = f"{name}: {ADDRESS.sub(MASK, str(error))}" if isinstance(error, MailroomError) else name
    return ScrubbedError(text).with_traceback(error.__traceback__)
