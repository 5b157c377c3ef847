"""Containers, queues and tables are made when they are first needed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from azure.core.exceptions import HttpResponseError

from shared.storage.azure.errors import DENIED, Service, code_of, mapped

_THERE = frozenset({"ContainerAlreadyExists", "QueueAlreadyExists", "TableAlreadyExists", "ResourceAlreadyExists"})
_GONE = frozenset({"ContainerNotFound", "QueueNotFound", "TableNotFound"})


class LazyResource:
    """A container, a queue or a table.

    Args:
        setting: the setting that names the account, for errors.
        service: whose it is.
        make: makes it.
    """

    def __init__(self, setting: str, service: Service, make: Callable[[], object]) -> None:
        self._setting = setting
        self._service = service
        self._make = make
        self._made = False
        self._making = threading.Lock()

    @contextmanager
    def used(self) -> Iterator[None]:
        """Where it is used: it is there, as far as we can see to that, and the SDK's errors become ours.

        If somebody removed it in the meantime, it is made again at the next use.
        """
        with mapped(self._setting, self._service):
            try:
                self._see_to_it()
                yield
            except HttpResponseError as error:
                if code_of(error) in _GONE:
                    self._made = False
                raise

    def _see_to_it(self) -> None:
        if self._made:
            return
        # Those who come second wait for the first: what they want is not there yet.
        with self._making:
            if self._made:
                return
            try:
                self._make()
            except HttpResponseError as error:
                # An operator may have made it, and given the app no right to: what is missing shows at its use.
                if error.status_code not in DENIED and code_of(error) not in _THERE:
                    raise
            self._made = True
