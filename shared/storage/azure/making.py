"""Making containers, queues and tables when they are first needed."""

from __future__ import annotations

from collections.abc import Callable

from azure.core.exceptions import HttpResponseError, ResourceExistsError

from shared.storage.azure.accounts import Account
from shared.storage.azure.errors import DENIED


def make_once(account: Account, name: str, make: Callable[[], object]) -> None:
    """Make something once a process; that it is there already, or that we may not make it, is fine.

    An operator may have made it and given the app no right to make more: what is missing shows at its first use.
    """
    if name in account.made:
        return
    # Those who come second wait for the first: what they want is not there yet.
    with account.making:
        if name in account.made:
            return
        try:
            make()
        except ResourceExistsError:
            pass
        except HttpResponseError as error:
            if error.status_code not in DENIED:
                raise
        account.made.add(name)
