"""Errors that end a command with a message instead of a traceback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from mailroom_cli.terminal import say
from shared.errors import ConfigurationError, MailroomError


@contextmanager
def plain_errors() -> Iterator[None]:
    """Print the project's errors on standard error, one line each, and exit.

    The exit status is 2 for a configuration error and 1 for any other error.
    """
    try:
        yield
    except ConfigurationError as error:
        for line in error.errors:
            say(line, err=True)
        raise typer.Exit(2) from None
    except MailroomError as error:
        say(str(error), err=True)
        raise typer.Exit(1) from None
