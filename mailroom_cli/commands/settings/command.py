"""The command `mailroom settings`: what it takes, and what it writes where."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from mailroom_cli.errors import plain_errors
from mailroom_cli.terminal import say
from shared.errors import ConfigurationError

STARTED = Path("local.settings.json")
"""The file that all commands read, unless another is named."""

_OWNER_ALONE = 0o600


def settings_command(
    *,
    settings: Annotated[
        Path, typer.Option("--settings", metavar="FILE", help="What --check and --azure read.")
    ] = STARTED,
    check: Annotated[
        bool,
        typer.Option("--check", help="Say all that is wrong with a file; connect to nothing. Exit status 1 if so."),
    ] = False,
    azure: Annotated[
        bool, typer.Option("--azure", help="A file as a script for Azure CLI, which asks for secrets and holds none.")
    ] = False,
    preset: Annotated[
        str, typer.Option(help="Where the mailbox to start with is, as in gmail-imap; without: on an IMAP server.")
    ] = "",
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="Write into this; without: print.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over what is there.")] = False,
    resource_group: Annotated[str, typer.Option(metavar="NAME", help="For --azure.")] = "GROUP",
    app: Annotated[str, typer.Option(metavar="NAME", help="The function app, for --azure.")] = "APP",
    vault: Annotated[str, typer.Option(metavar="NAME", help="The Key Vault, for --azure.")] = "VAULT",
) -> None:
    """A commented local.settings.json to start from; what is wrong with one; its way into Azure."""
    with plain_errors():
        if (check and azure) or (settings != STARTED and not check and not azure):
            raise ConfigurationError("what is to be done? --check or --azure, or --output FILE to write one anew")
        if check:
            raise typer.Exit(_check(settings))
        text = _script(settings, resource_group, app, vault) if azure else _start(preset)
        if output is None:
            # A file's content, of the settings of whoever asks: it must arrive as it is.
            typer.echo(text, nl=False)
        else:
            _write(output, text, force=force)


def _check(file: Path) -> int:
    """Tell what a file's settings are like. The exit status."""
    from mailroom_cli.commands.settings.validate import CheckedFile, check_file  # noqa: PLC0415  reading settings takes a while to load

    try:
        found = check_file(file)
    except ConfigurationError as error:
        found = CheckedFile({}, error.faults)
    for line in found.faults:
        say(f"WRONG {line}")
    for line in found.notes:
        say(f"note  {line}")
    if not found.faults:
        say(f"ok    {file}")
    return 1 if found.faults else 0


def _script(file: Path, group: str, app: str, vault: str) -> str:
    from mailroom_cli.commands.settings.azure_script import Target, script  # noqa: PLC0415
    from mailroom_cli.commands.settings.validate import check_file  # noqa: PLC0415

    found = check_file(file)
    if found.faults:
        raise ConfigurationError(*found.faults)
    return script(found.values, Target(group, app, vault))


def _start(preset: str) -> str:
    from mailroom_cli.commands.settings.template import starting_file  # noqa: PLC0415
    from shared.config.presets import Preset  # noqa: PLC0415

    word = preset.lower()
    if word and word not in list(Preset):
        raise ConfigurationError(f"{preset} is no preset; there are: {', '.join(Preset)}")
    return starting_file(Preset(word) if word else None)


def _write(path: Path, text: str, *, force: bool) -> None:
    """Write a file that its owner alone can read: it is to hold secrets.

    Raises:
        ConfigurationError: there is one already, and `force` is not given; or it cannot be written.
    """
    over = os.O_TRUNC if force else os.O_EXCL
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | over, _OWNER_ALONE), "w", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        trouble = "is there already; name another, or give --force to write over it"
    except OSError as error:
        trouble = f"cannot be written: {error.strerror}"
    else:
        return
    raise ConfigurationError(f"{path} {trouble}")
