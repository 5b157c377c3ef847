"""Create containers, queues and tables on first use."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from azure.core.exceptions import HttpResponseError

from shared.storage.azure.errors import DENIED, Service, error_code, mapped_errors

_EXISTS = frozenset({"ContainerAlreadyExists", "QueueAlreadyExists", "TableAlreadyExists", "ResourceAlreadyExists"})
_MISSING = frozenset({"ContainerNotFound", "QueueNotFound", "TableNotFound"})


class LazyResource:
    """A container, a queue or a table that is created on first use.

    Args:
        setting: the setting that names the account, for errors.
        service: the service that has the resource.
        create: creates the resource.
        is_emulator: whether the account is the storage emulator's.
    """

    def __init__(
        self, setting: str, service: Service, create: Callable[[], object], *, is_emulator: bool = False
    ) -> None:
        self._setting = setting
        self._is_emulator = is_emulator
        self._service = service
        self._create = create
        self._created = False
        self._creating = threading.Lock()

    @contextmanager
    def used(self) -> Iterator[None]:
        """Create the resource if necessary, and map the SDK's errors while the context uses it.

        If the resource was deleted in the meantime, the next use creates it again.
        """
        with mapped_errors(self._setting, self._service, is_emulator=self._is_emulator):
            try:
                self._ensure_created()
                yield
            except HttpResponseError as error:
                if error_code(error) in _MISSING:
                    self._created = False
                raise

    def _ensure_created(self) -> None:
        if self._created:
            return
        # Other threads wait here: the resource does not exist before the first thread returns.
        with self._creating:
            if self._created:
                return
            try:
                self._create()
            except HttpResponseError as error:
                # An operator may have created it, and the app may lack the right to. Its use shows whether it exists.
                if error.status_code not in DENIED and error_code(error) not in _EXISTS:
                    raise
            self._created = True
