"""The context of log records: the mailbox, the arrival, the message and the route that a record is about.

The fields are attributes of the record, with the same names as the attributes of spans, so that telemetry shows them
as columns. If nothing collects attributes, they are appended to the text: `[mailbox=support message=9f86d081884c]`.
Ids are shortened in texts, and complete in attributes.

An error of another library is logged with its class and its traceback, without its text, which may quote a message.
Chained errors are not logged. E-mail addresses, which servers often include in their responses, are masked above
level DEBUG.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Mapping
from contextvars import ContextVar
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from shared.errors import MailroomError
from shared.observability.metric_names import PREFIX

LOGGER = "mailroom"

ADDRESS: Final = re.compile(r"(?!\*@)[^\s@<>()\[\]\"',;:/]{1,64}@[^\s@<>()\[\]\"',;:/]{1,255}")
"""Text that looks like an e-mail address. A pattern of a route, such as `*@example.com`, is not one."""

MASK: Final = "(address)"

SHORT_ID_LENGTH: Final = 12
"""Hex digits of an id in the text of a log record: `mailroom find --id` accepts them."""

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")

_fields: ContextVar[Mapping[str, str]] = ContextVar("fields", default=MappingProxyType({}))
_lock = threading.Lock()
_installed: list[str] = []


class ScrubbedError(Exception):
    """A replacement for an error of another library: its class, without its text."""


class Binding:
    """A context in which log records have additional fields. It is entered once.

    A class and not a generator: routing a message enters more than ten of them, in half the time.

    Args:
        fields: the fields, masked.
    """

    __slots__ = ("_fields", "_token")

    def __init__(self, fields: Mapping[str, str]) -> None:
        self._fields = fields

    def __enter__(self) -> None:
        self._token = _fields.set({**_fields.get(), **self._fields})

    def __exit__(self, *_error: object) -> None:
        _fields.reset(self._token)


def bind(**fields: str) -> Binding:
    """Add fields to the log records within the context.

    Args:
        fields: `mailbox`, `folder`, `arrival`, `message`, `route`: only names, keys and ids.
    """
    return Binding(mask(fields))


def mask(fields: Mapping[str, str]) -> dict[str, str]:
    """Return fields for a `Binding`, without e-mail addresses."""
    return {name: _mask(value) for name, value in fields.items()}


@lru_cache(maxsize=1024)  # A message has the same fields in all phases of its routing.
def _mask(value: str) -> str:
    return ADDRESS.sub(MASK, value)


def short_id(key: str) -> str:
    """Return the first digits of a message's id or an arrival's key, for the text of a log record or an error."""
    return key[:SHORT_ID_LENGTH] if _DIGEST.fullmatch(key) else key


def scrub(error: BaseException) -> BaseException:
    """Return an error that is safe to log: one of Mailroom itself, any other one as its class and its traceback."""
    if isinstance(error, MailroomError):
        return error
    return ScrubbedError(type(error).__name__).with_traceback(error.__traceback__)


def install_log_context(*, append_fields: bool) -> None:
    """Give all of Mailroom's log records their fields from now on. The second call in a process does nothing.

    Args:
        append_fields: also append the fields to the text of the record.
    """
    with _lock:
        if _installed:
            return
        _installed.append(LOGGER)
        make_record = logging.getLogRecordFactory()

    def make_with_context(*args: object, **kwargs: object) -> logging.LogRecord:
        record = make_record(*args, **kwargs)
        if record.name == LOGGER or record.name.startswith(LOGGER + "."):
            _add_context(record, append_fields=append_fields)
        return record

    logging.setLogRecordFactory(make_with_context)


def _add_context(record: logging.LogRecord, *, append_fields: bool) -> None:
    if record.exc_info is not None and record.exc_info[1] is not None:
        error = _without_chain(record.exc_info[1])
        record.exc_info = (type(error), error, error.__traceback__)
    fields = _fields.get()
    record.__dict__.update(prefixed_attributes(**fields))
    try:
        text = record.getMessage()
    except Exception:  # noqa: BLE001  logging must not fail its caller; the handlers report the wrong arguments
        return
    if record.levelno > logging.DEBUG:
        text = ADDRESS.sub(MASK, text)
    if append_fields and fields:
        text += f" [{' '.join(f'{name}={short_id(value)}' for name, value in fields.items())}]"
    record.msg, record.args = text, ()


def _without_chain(error: BaseException) -> ScrubbedError:
    """Return an error for a log record: without chained errors, and without text if it is not Mailroom's."""
    name = type(error).__name__
    text = f"{name}: {ADDRESS.sub(MASK, str(error))}" if isinstance(error, MailroomError) else name
    return ScrubbedError(text).with_traceback(error.__traceback__)


def prefixed_attributes(**attributes: str | float) -> dict[str, str | int | float]:
    """Return attributes with the names that telemetry shows. Spans and log records share them, for one query."""
    return {PREFIX + name: value for name, value in attributes.items()}
