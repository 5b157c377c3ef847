"""Options that every command takes, before or after its name, and the plain text of `--help`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from mailroom_cli.logging_setup import configure_logging
from mailroom_cli.terminal import set_quiet

if TYPE_CHECKING:
    from collections.abc import Iterable

    # Typer has no public names for the classes that its own derive from.
    from typer._click import Context, HelpFormatter, Parameter

CONTEXT: Final = {"help_option_names": ["--help", "-h"], "max_content_width": 100}
"""Settings of the group of all commands; its commands inherit the names of the help option."""

_METAVARS: Final = {"since": "WHEN", "until": "WHEN", "limit": "NUMBER", "port": "NUMBER"}
"""Names of option values in the help, by option. Any other option's value has the name of the option."""


class LogFormat(StrEnum):
    """How log lines are written."""

    TEXT = "text"
    JSON = "json"


@dataclass(slots=True)
class GlobalOptions:
    """The values of the options that every command takes.

    Attributes:
        verbosity: 0: errors only; 1: also what happens; 2: also details.
        quiet: progress and notes are not printed.
        log_format: how log lines are written.
    """

    verbosity: int = 0
    quiet: bool = False
    log_format: LogFormat = LogFormat.TEXT

    def apply(self) -> None:
        """Set up logging and output for the command that runs next."""
        set_quiet(self.quiet)
        configure_logging(self.verbosity, self.quiet, self.log_format.value)


def _add_verbosity(context: typer.Context, value: int) -> int:
    context.ensure_object(GlobalOptions).verbosity += value
    return value


def _set_quiet(context: typer.Context, value: bool) -> bool:
    context.ensure_object(GlobalOptions).quiet |= value
    return value


def _set_log_format(context: typer.Context, value: LogFormat | None) -> LogFormat | None:
    if value is not None:
        context.ensure_object(GlobalOptions).log_format = value
    return value


def _declare(
    *,
    verbose: Annotated[
        int,
        typer.Option(
            "--verbose",
            "-v",
            count=True,
            show_default=False,
            expose_value=False,
            callback=_add_verbosity,
            help="Log what happens to standard error; -vv: with details.",
        ),
    ] = 0,
    quiet: Annotated[
        bool,
        typer.Option(
            "--quiet", "-q", expose_value=False, callback=_set_quiet, help="Print results and errors; no progress."
        ),
    ] = False,
    log_format: Annotated[
        LogFormat | None,
        typer.Option(
            "--log-format", metavar="text|json", expose_value=False, callback=_set_log_format, help="Form of log lines."
        ),
    ] = None,
) -> None:
    """Declare the options; it is never called."""


def _shared_parameters() -> list[Parameter]:
    holder = typer.Typer(add_completion=False)
    holder.command()(_declare)
    return [*typer.main.get_command(holder).params]


def _name_values(params: Iterable[Parameter]) -> None:
    """Name the values of options for the help, which would show a Python type instead."""
    for param in params:
        if isinstance(param, TyperOption) and param.metavar is None and not param.is_flag:
            name = (param.name or "").rstrip("_")
            param.metavar = _METAVARS.get(name, name.upper())


def _write_options(command: TyperCommand | TyperGroup, context: Context, formatter: HelpFormatter) -> None:
    """Write the arguments and options, those of every command in a section of their own."""
    shared_names = {"verbose", "quiet", "log_format", "help"}
    arguments: list[tuple[str, str]] = []
    own: list[tuple[str, str]] = []
    shared: list[tuple[str, str]] = []
    for param in command.get_params(context):
        entry = param.get_help_record(context)
        if entry is None:
            continue
        if param.param_type_name == "argument":
            arguments.append((_value_name(param), entry[1].removesuffix("[required]").rstrip()))
        else:
            (shared if param.name in shared_names else own).append(entry)
    for title, entries in (("Arguments", arguments), ("Options", own), ("Options of every command", shared)):
        if entries:
            with formatter.section(title):
                formatter.write_dl(entries)


def _value_name(param: Parameter) -> str:
    return param.metavar or (param.name or "").upper()


def _usage(command: TyperCommand | TyperGroup, context: Context) -> list[str]:
    """Return the words of the usage line after the command's name."""
    arguments = [param for param in command.get_params(context) if param.param_type_name == "argument"]
    return ["[OPTIONS]", *(_value_name(param) if param.required else f"[{_value_name(param)}]" for param in arguments)]


class MailroomCommand(TyperCommand):
    """A command that also takes the options of every command."""

    def __init__(self, name: str | None, *, params: list[Parameter] | None = None, **options: Any) -> None:
        _name_values(params or ())
        super().__init__(name, params=[*(params or ()), *_shared_parameters()], **options)

    def invoke(self, ctx: Context) -> Any:
        """Apply the options of every command, and run this one."""
        ctx.ensure_object(GlobalOptions).apply()
        return super().invoke(ctx)

    def collect_usage_pieces(self, ctx: Context) -> list[str]:
        """Return the words of the usage line after the command's name."""
        return _usage(self, ctx)

    def format_options(self, ctx: Context, formatter: HelpFormatter) -> None:
        """Write the sections of the options."""
        _write_options(self, ctx, formatter)


class MailroomGroup(TyperGroup):
    """A group of commands, listed in the help by their panels, that takes the options of every command."""

    command_class = MailroomCommand

    def __init__(self, *, params: list[Parameter] | None = None, **options: Any) -> None:
        _name_values(params or ())
        super().__init__(params=[*(params or ()), *_shared_parameters()], **options)

    def invoke(self, ctx: Context) -> Any:
        """Apply the options of every command, and run the group or its command."""
        ctx.ensure_object(GlobalOptions).apply()
        return super().invoke(ctx)

    def format_options(self, ctx: Context, formatter: HelpFormatter) -> None:
        """Write the sections of the commands, then those of the options."""
        self._write_commands(ctx, formatter)
        _write_options(self, ctx, formatter)

    def _write_commands(self, ctx: Context, formatter: HelpFormatter) -> None:
        panels: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            if command is not None and not command.hidden:
                panel = getattr(command, "rich_help_panel", None)
                title = panel if isinstance(panel, str) else "Commands"
                panels.setdefault(title, []).append((name, command.get_short_help_str(limit=200)))
        width = max(len(name) for entries in panels.values() for name, _ in entries)
        for title, entries in panels.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), text) for name, text in entries])


def examples(*lines: str) -> str:
    """Return the end of a command's help: examples, each on a line of its own."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)
