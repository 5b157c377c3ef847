"""The commands `mailroom settings` and `mailroom settings add`: their options and their output."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from mailroom_cli.errors import plain_errors
from mailroom_cli.settings_file import DEFAULT_FILE, SETTINGS_VARIABLE
from mailroom_cli.terminal import note, say
from shared.errors import ConfigurationError

_OWNER_ONLY = 0o600


def settings_command(
    *,
    context: typer.Context,
    settings: Annotated[
        Path,
        typer.Option("--settings", metavar="FILE", envvar=SETTINGS_VARIABLE, help="The file for --check and --azure."),
    ] = DEFAULT_FILE,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Report all errors in a file; connect to nothing. Exit status 1 if there are any."
        ),
    ] = False,
    azure: Annotated[
        bool, typer.Option("--azure", help="A file as a script for Azure CLI, which asks for secrets and holds none.")
    ] = False,
    preset: Annotated[
        str, typer.Option(help="Where the first mailbox is, as in gmail-imap; without: on an IMAP server.")
    ] = "",
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="Write into this; without: print.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
    resource_group: Annotated[str, typer.Option(metavar="NAME", help="For --azure.")] = "GROUP",
    app: Annotated[str, typer.Option(metavar="NAME", help="The function app, for --azure.")] = "APP",
    vault: Annotated[str, typer.Option(metavar="NAME", help="The Key Vault, for --azure.")] = "VAULT",
) -> None:
    """Write a settings file to start from, check one, or add a mailbox.

    With --azure, write a script that puts the settings into a function app.
    """
    if context.invoked_subcommand is not None:
        return
    with plain_errors():
        source = context.get_parameter_source("settings")
        is_named = source is not None and source.name == "COMMANDLINE"
        if (check and azure) or (is_named and not check and not azure):
            raise ConfigurationError("choose what to do: --check or --azure, or --output FILE to write a new file")
        if check:
            raise typer.Exit(_check(settings))
        text = _script(settings, resource_group, app, vault) if azure else _template(preset)
        if output is None:
            # The content of a file: it must not be reformatted for the terminal.
            typer.echo(text, nl=False)
        else:
            _write(output, text, force=force)
            file = "" if output == DEFAULT_FILE else f" --settings {output}"
            check_it = "" if azure else f"; fill in its values, then run `mailroom settings --check{file}`"
            note(f"{output} is written{check_it}")


def add_command(
    *,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The mailbox's name in the settings, as in support.")],
    preset: Annotated[str, typer.Option(help="The mailbox's server, as in gmail-imap or office365-graph.")] = "",
    protocol: Annotated[str, typer.Option(metavar="imap|pop3|graph", help="Without a preset: the protocol.")] = "",
    host: Annotated[str, typer.Option(help="Without a preset: the server's DNS name.")] = "",
    port: Annotated[str, typer.Option(help="The server's port, if it is not the usual one.")] = "",
    address: Annotated[str, typer.Option(help="The mailbox's e-mail address.")] = "",
    username: Annotated[str, typer.Option(help="The name to sign in with, if it is not the address.")] = "",
    folders: Annotated[str, typer.Option(help="The folders to collect, separated by ;. Without: INBOX.")] = "",
    after: Annotated[
        str, typer.Option(help="keep, delete, trash or move:FOLDER: what follows after storing.")
    ] = "keep",
    route: Annotated[str, typer.Option(help="The route that takes the mailbox's mail; a new one is added.")] = "",
    tenant_id: Annotated[str, typer.Option(metavar="ID", help="Office 365: the tenant.")] = "",
    client_id: Annotated[str, typer.Option(metavar="ID", help="Office 365: the app registration.")] = "",
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password, or the client secret, from standard input.")
    ] = False,
    settings: Annotated[
        Path,
        typer.Option(
            "--settings", metavar="FILE", envvar=SETTINGS_VARIABLE, help="The file; it is created if missing."
        ),
    ] = DEFAULT_FILE,
) -> None:
    """Add a mailbox to a settings file, and check the file.

    On a terminal, it asks for what the options do not say. A password is never an option, since others could see it.
    """
    from mailroom_cli.commands.settings.add import NewMailbox, add_mailbox  # noqa: PLC0415

    with plain_errors():
        mailbox = NewMailbox(
            name=name.lower(),
            preset=preset.lower(),
            protocol=protocol.lower(),
            host=host,
            port=port,
            address=address,
            username=username,
            folders=folders,
            after=after,
            route=route.lower(),
            tenant_id=tenant_id,
            client_id=client_id,
        )
        raise typer.Exit(add_mailbox(settings, mailbox, password_stdin=password_stdin))


def _check(file: Path) -> int:
    """Report the errors and warnings of a file's settings. Return the exit status."""
    from mailroom_cli.commands.settings.validate import CheckedFile, check_file  # noqa: PLC0415  slow to import

    try:
        checked = check_file(file)
    except ConfigurationError as error:
        checked = CheckedFile({}, error.errors)
    for line in checked.errors:
        say(f"WRONG {line}")
    for line in checked.notes:
        say(f"note  {line}")
    if not checked.errors:
        say(f"ok    {file}")
    return 1 if checked.errors else 0


def _script(file: Path, group: str, app: str, vault: str) -> str:
    from mailroom_cli.commands.settings.azure_script import Target, script  # noqa: PLC0415
    from mailroom_cli.commands.settings.validate import check_file  # noqa: PLC0415

    checked = check_file(file)
    if checked.errors:
        raise ConfigurationError(*checked.errors)
    return script(checked.values, Target(group, app, vault))


def _template(preset: str) -> str:
    from mailroom_cli.commands.settings.template import starting_file  # noqa: PLC0415
    from shared.config.presets import Preset  # noqa: PLC0415

    word = preset.lower()
    if word and word not in list(Preset):
        raise ConfigurationError(f"{preset} is not a preset; use one of {', '.join(Preset)}")
    return starting_file(Preset(word) if word else None)


def _write(path: Path, text: str, *, force: bool) -> None:
    """Write a file that only its owner can read: it is to hold secrets.

    Raises:
        ConfigurationError: the file exists and `force` is not set, or it cannot be written.
    """
    mode = os.O_TRUNC if force else os.O_EXCL
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | mode, _OWNER_ONLY), "w", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        problem = "exists already; name another file, or give --force to overwrite it"
    except OSError as error:
        problem = f"cannot be written: {error.strerror}"
    else:
        return
    raise ConfigurationError(f"{path} {problem}")
