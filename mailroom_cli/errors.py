"""How a command ends when something is wrong that it knows of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from mailroom_cli.terminal import say
from shared.errors import ConfigurationError, MailroomError


@contextmanager
def plain_errors() -> Iterator[None]:
    """End with a line a fault instead of a traceback."""
    try:
        yield
    except ConfigurationError as error:
        for fault in error.faults:
            say(fault, err=True)
        raise typer.Exit(2) from None
    except MailroomError as error:
        say(str(error), err=True)
        raise typer.Exit(1) from None
