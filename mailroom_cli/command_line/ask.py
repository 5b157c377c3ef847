"""Commands that only read: `status`, `find` and `explain`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mailroom_cli.command_line.options import DEFAULT_FILE, AsJson, Settings
from mailroom_cli.errors import plain_errors
from mailroom_cli.terminal import note, open_console, quantity, say, say_json, wide_console
from shared.errors import ConfigurationError

if TYPE_CHECKING:
    from shared.operations.search import ArrivalQuery


def status(settings: Settings = DEFAULT_FILE, *, as_json: AsJson = False) -> None:
    """Show whether all is well, and the state of each mailbox.

    Exit status 1 if a mailbox is unhealthy: failing, disabled, or with invalid settings.
    """
    from mailroom_cli.app_context import open_app  # noqa: PLC0415
    from mailroom_cli.commands.status import read_status, show  # noqa: PLC0415

    with plain_errors(), open_app(settings, create=False) as app:
        current = read_status(app)
    if as_json:
        say_json(current.to_json())
    else:
        show(current, open_console())
    raise typer.Exit(0 if current.is_healthy else 1)


def find(
    *,
    id_: Annotated[
        str, typer.Option("--id", metavar="HEX", help="Id of a message or key of an arrival; 8 digits are enough.")
    ] = "",
    message_id: Annotated[str, typer.Option(metavar="ID", help="The Message-ID, with or without angle brackets.")] = "",
    sender: Annotated[str, typer.Option(metavar="ADDRESS", help="An address in From.")] = "",
    recipient: Annotated[
        str, typer.Option(metavar="ADDRESS", help="A recipient with a result, or an address in To or Cc.")
    ] = "",
    subject: Annotated[str, typer.Option(metavar="WORDS", help="A part of the subject, in any case.")] = "",
    outcome: Annotated[
        str,
        typer.Option(
            metavar="OUTCOME",
            help="routed, duplicate, unhandled, blocked, failed, waiting, erased, oversized or unreadable.",
        ),
    ] = "",
    mailbox: Annotated[str, typer.Option(metavar="NAME", help="Only messages of this mailbox.")] = "",
    since: Annotated[
        str,
        typer.Option(
            metavar="WHEN", help="Stored since then: today, yesterday, 7d, 12h or a day such as 2026-11-24, all UTC."
        ),
    ] = "",
    until: Annotated[
        str, typer.Option(metavar="WHEN", help="Stored until then, written likewise; a day counts to its end.")
    ] = "",
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="Largest number of messages to show.")] = 100,
    long: Annotated[bool, typer.Option("--long", help="Show paths, claims and all other properties.")] = False,
    as_json: AsJson = False,
    settings: Settings = DEFAULT_FILE,
) -> None:
    """List messages with their outcomes, one line for each arrival, the newest last.

    Without an option, list the newest messages.

    Exit status 1 if no message matches.
    """
    from mailroom_cli.app_context import open_app, require_store  # noqa: PLC0415
    from mailroom_cli.commands.find import find_newest, histories_of, show, show_lines, to_json_line  # noqa: PLC0415
    from shared.operations.search import count_unparsed  # noqa: PLC0415

    with plain_errors():
        query = _arrival_query(
            id_,
            message_id,
            sender,
            recipient,
            subject=subject,
            outcome=outcome,
            mailbox=mailbox,
            since=since,
            until=until,
        )
        with open_app(settings, create=False) as app:
            require_store(app.settings.mail_storage)
            storage, console = app.storage, wide_console()
            receipts, has_more = find_newest(storage, query, limit)
            unparsed = count_unparsed(storage.records, query) if query.uses_content and not query.id else 0
            if as_json:
                for history in histories_of(storage, receipts):
                    say(to_json_line(history))
            elif long:
                show(histories_of(storage, receipts), console)
            elif receipts:
                show_lines(storage, receipts, console)
    if has_more:
        say(f"more messages match than the newest {limit}, which are shown; use --limit to show more", err=True)
    if unparsed:
        say(
            f"{quantity(unparsed, 'message')} {'is' if unparsed == 1 else 'are'} not routed yet or failed: "
            f"{'its' if unparsed == 1 else 'their'} sender, recipients and subject are unknown; "
            "--outcome waiting and --outcome failed list them",
            err=True,
        )
    if not receipts:
        say("no message matches", err=True)
    raise typer.Exit(0 if receipts else 1)


def _arrival_query(id_: str, message_id: str, sender: str, recipient: str, **others: str) -> ArrivalQuery:
    """Parse the search options of `find`.

    Raises:
        ConfigurationError: one of them is invalid.
    """
    from shared.clock import utc_now  # noqa: PLC0415
    from shared.operations import search  # noqa: PLC0415

    now, since, until = utc_now(), others["since"], others["until"]
    query = search.ArrivalQuery(
        id=search.parse_id(id_) if id_ else "",
        message_id=search.parse_message_id(message_id),
        sender=search.parse_recipient(sender) if sender else "",
        recipient=search.parse_recipient(recipient) if recipient else "",
        subject=others["subject"],
        outcome=search.parse_outcome(others["outcome"]) if others["outcome"] else None,
        mailbox=others["mailbox"].strip().lower(),
        since=search.parse_time(since, now=now, option="--since") if since else None,
        until=search.parse_end(until, now=now, option="--until") if until else None,
    )
    if query.since is not None and query.until is not None and query.since >= query.until:
        raise ConfigurationError("--since is after --until: swap them")
    return query


def explain(
    message: Annotated[
        str,
        typer.Argument(
            metavar="MESSAGE",
            help="A file with a raw message, - for standard input, an id as `find` shows it, or the path of a record, "
            "result or stored message.",
        ),
    ],
    mailbox: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Mailbox in which the message would arrive; default: where it arrived, or each mailbox for a file.",
        ),
    ] = None,
    folder: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Folder in which it would arrive; default: where it arrived, or INBOX."),
    ] = None,
    as_json: AsJson = False,
    settings: Settings = DEFAULT_FILE,
) -> None:
    """Show what happened to a message, how it would be routed now, and why; store nothing."""
    from mailroom_cli.app_context import missing_store_lines, open_app  # noqa: PLC0415
    from mailroom_cli.commands.explain import ExplainOptions  # noqa: PLC0415
    from mailroom_cli.commands.explain import explain as explain_message  # noqa: PLC0415
    from mailroom_cli.commands.explain_text import describe  # noqa: PLC0415
    from mailroom_cli.commands.explanation import to_json_line  # noqa: PLC0415

    options = ExplainOptions(None if mailbox is None else mailbox.lower(), folder)
    with plain_errors(), open_app(settings, create=False) as app:
        for line in missing_store_lines(app.settings.mail_storage):
            note(line)
        explanations, omitted = explain_message(app, message, options, typer.get_binary_stream("stdin").read)
        for line in map(to_json_line, explanations) if as_json else describe(app.storage, explanations):
            say(line)
    if omitted:
        say(f"not shown: {quantity(omitted, 'older arrival')} of this message; `find --id` lists them all", err=True)
