"""`mailroom explain`: show what happened to a message, how it would be routed now, and why; store nothing."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Final, Literal

from mailroom_cli.commands.explanation import (
    ArrivalHistory,
    DuplicateOf,
    ExplainedAttempt,
    ExplainedMatch,
    ExplainedRouting,
    Explanation,
    MessageSummary,
    RecipientHistory,
)
from mailroom_cli.ids import is_in_folder, is_stored_path, path_in_store
from shared.bootstrap import App
from shared.clock import utc_now
from shared.dispatch.claims import Claim
from shared.dispatch.deduplication import Claims
from shared.dispatch.record_resolution import resolved_record_path
from shared.dispatch.routing_input import envelope_hints, open_raw, to_routing_input, visible_content
from shared.documents.blob_paths import RECORD_KINDS, message_in_path, result_path, route_of_result, skipped_path
from shared.errors import ConfigurationError, MessageMissing, MessageUnreadable
from shared.mime.parser import Message, parse
from shared.operations.replay import ReplayRequests
from shared.operations.search import find_by_id, is_id, outcome_of, parse_id
from shared.receipts import TRUNCATED, Receipt, State
from shared.routing.decision import decide, failed_conditions
from shared.routing.fingerprints import Fingerprint, fingerprints
from shared.routing.model import ANY_RECIPIENT, Decision, Match, RoutingInput
from shared.routing.near_misses import NearMisses
from shared.routing.route_table import RouteTable
from shared.storage.base import Storage, Table

MAX_ARRIVALS: Final = 10
"""Arrivals of one message that are explained, the newest ones: a message may have arrived in any number of places."""


@dataclass(frozen=True, slots=True)
class ExplainOptions:
    """The options of `explain`.

    Attributes:
        mailbox: a mailbox in which the message would arrive; None: where it arrived, or, for a file, every mailbox.
        folder: a folder in which it would arrive; None: where it arrived, or, for a file, `INBOX`.
    """

    mailbox: str | None = None
    folder: str | None = None


def explain(
    app: App, target: str, options: ExplainOptions, read_stdin: Callable[[], bytes]
) -> tuple[list[Explanation], int]:
    """Explain a message: what happened to it if it is stored, and what would happen now.

    Args:
        app: supplies the routes, and the storage, which is only read.
        target: a file with a raw message, `-`, an id, or a path in the storage.
        options: the options.
        read_stdin: returns the raw message for `-`.

    Returns:
        An explanation of the file, or of each of the newest `MAX_ARRIVALS` arrivals of the stored message, the newest
        last; and the number of its other arrivals.

    Raises:
        ConfigurationError: the target is not a file, an id or a path, or the settings have no such mailbox.
        MessageMissing: the storage has no such message.
        MessageUnreadable: the path does not name a document that Mailroom wrote.
        TransientError: the storage failed.
    """
    if options.mailbox is not None and options.mailbox not in app.settings.mailboxes:
        raise ConfigurationError(
            f"the settings have no valid mailbox {options.mailbox}; valid are: "
            f"{', '.join(app.settings.mailboxes) or 'none'}"
        )
    if target == "-":
        return [_explain_file(app, read_stdin(), options)], 0
    path = path_in_store(app, target)
    if is_stored_path(path) and (is_in_folder(app, target) or not Path(target).is_file()):
        receipts = _receipts_at(app.storage, path)
    elif is_id(target) and not Path(target).is_file():
        receipts = find_by_id(app.storage.records, parse_id(target))
    else:
        return [_explain_file(app, _read_file(target), options)], 0
    newest = receipts[-MAX_ARRIVALS:]
    return [_explain_arrival(app, receipt, options) for receipt in newest], len(receipts) - len(newest)


def _read_file(target: str) -> bytes:
    try:
        return Path(target).read_bytes()
    except FileNotFoundError:
        raise ConfigurationError(
            f"{target} cannot be read: it is not a file, an id (8 to 64 hex digits), or the path of a stored message"
        ) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "its name contains a NUL"
        raise ConfigurationError(f"{target} cannot be read: {reason}") from None


def _receipts_at(storage: Storage, path: str) -> list[Receipt]:
    """Return the arrivals that a path in the storage names: of a document, or of a message's files.

    Raises:
        MessageMissing: there is nothing at the path.
        ConfigurationError: several messages have paths that begin like this.
    """
    message = re.match(r"messages/[0-9a-f]{2}/([0-9a-f]{64})(?:/|\.eml$|$)", path)
    if message is not None:
        return find_by_id(storage.records, message[1])
    if {"", ".", ".."} & {*path.split("/")[:-1]}:
        raise ConfigurationError(f"{path} is not the path of a stored message")
    paths: list[str] = []
    for item in storage.blobs.list(path):
        if item == path:
            paths = [item]
            break
        paths.append(item)
        if message_in_path(item) != message_in_path(paths[0]):
            raise ConfigurationError(f"{path} is the beginning of several messages' paths; give more of it")
    if not paths:
        raise MessageMissing(f"there is nothing at {path}")
    # An arrival may have several results; two arrivals of one message may have records.
    arrivals = {record.arrival for item in paths if (record := ReplayRequests(storage, utc_now).read_record(item))}
    records = storage.records.get_many(Table.RECEIPTS, sorted(arrivals)).values()
    receipts = sorted(map(Receipt.from_record, records), key=lambda receipt: (receipt.stored_at, receipt.arrival))
    if not receipts:
        raise MessageMissing(f"{path}: its arrival has no receipt")
    return receipts


def _explain_file(app: App, data: bytes, options: ExplainOptions) -> Explanation:
    message, message_id = parse(data), hashlib.sha256(data).hexdigest()
    names = [name for name in app.settings.mailboxes if options.mailbox in (None, name)]
    routing = [
        _explain_routing(app, message, _new_receipt(app, name, message_id, len(data), options)) for name in names
    ]
    return Explanation(message_id, _summary(message, message_id), None, tuple(routing))


def _explain_arrival(app: App, receipt: Receipt, options: ExplainOptions) -> Explanation:
    happened = _history(app.storage, receipt)
    id_ = receipt.message or receipt.arrival
    if not receipt.message or receipt.state is State.ERASED:
        return Explanation(id_, None, happened, ())
    mailbox, folder = options.mailbox or receipt.mailbox, options.folder or receipt.folder
    is_elsewhere = (mailbox, folder) != (receipt.mailbox, receipt.folder)
    # Elsewhere it would be a new arrival, which has no results and claims of its own.
    place = replace(receipt, mailbox=mailbox, folder=folder, outcomes={}, arrival="") if is_elsewhere else receipt
    try:
        with open_raw(app.storage.blobs, receipt.message, size=receipt.size) as data:
            message = parse(data)
            routing = _explain_routing(app, message, place)
            return Explanation(id_, _summary(message, receipt.message), happened, (routing,))
    except MessageMissing as error:
        return Explanation(id_, None, happened, (ExplainedRouting(mailbox, folder, None, (str(error),)),))


def _summary(message: Message, id_: str) -> MessageSummary:
    report = message.report
    return MessageSummary(
        id=id_,
        from_=tuple(address.address or address.name for address in message.from_),
        to=tuple(address.address for address in message.to),
        cc=tuple(address.address for address in message.cc),
        subject=message.subject,
        sent=message.sent,
        attachments=len(message.attachments),
        automatic=message.automatic,
        evidence=tuple(message.automatic_evidence),
        failed_recipients=None if report is None else tuple(address.address or "?" for address in report.failed),
        invalid_addresses=message.invalid_addresses,
        repaired=message.defects,
    )


def _history(storage: Storage, receipt: Receipt) -> ArrivalHistory:
    records = dict(_records(storage, receipt))
    document = next(iter(records.values()), {})
    detail = document.get("detail")
    last_error = receipt.last_error or document.get("error")
    return ArrivalHistory(
        arrival=receipt.arrival,
        mailbox=receipt.mailbox,
        folder=receipt.folder,
        outcome=outcome_of(receipt),
        stored=receipt.stored_at,
        routed=receipt.routed_at,
        recipients=tuple(_recipients(storage, receipt, records)),
        records=tuple(records),
        detail=str(detail) if detail else None,
        last_error=str(last_error) if last_error else None,
    )


def _records(storage: Storage, receipt: Receipt) -> Iterator[tuple[str, dict[str, object]]]:
    """Yield path and content of an arrival's unresolved records."""
    paths = [resolved_record_path(kind, receipt) for kind in RECORD_KINDS] if receipt.message else []
    if receipt.state is State.OVERSIZED:
        paths = [skipped_path("oversized", receipt.mailbox, receipt.stored_at, receipt.arrival)]
    if receipt.state is State.UNREADABLE:
        paths = [skipped_path("unreadable", receipt.mailbox, receipt.stored_at, receipt.arrival)]
    for path in paths:
        data = storage.blobs.read(path)
        try:
            document = json.loads(data or b"null")
        except (ValueError, RecursionError):
            raise MessageUnreadable(f"{path} is not a record that Mailroom wrote") from None
        if isinstance(document, dict) and document.get("resolved") is None:
            yield path, document


def _recipients(
    storage: Storage, receipt: Receipt, records: Mapping[str, Mapping[str, object]]
) -> Iterator[RecipientHistory]:
    kinds = dict(_duplicate_kinds(records))
    originals = [text.partition(" ")[2] for text in receipt.outcomes.values() if text.startswith("duplicate ")]
    receipts = storage.records.get_many(Table.RECEIPTS, sorted(set(originals))) if originals else {}
    for recipient, text in receipt.outcomes.items():
        outcome, _, detail = text.partition(" ")
        if outcome == "routed":
            exists = storage.blobs.exists(detail)
            yield RecipientHistory(recipient, outcome, route_of_result(detail), detail, exists)
        elif outcome == "duplicate":
            original = Receipt.from_record(receipts[detail]) if detail in receipts else None
            by, result = kinds.get(recipient, (None, None))
            yield RecipientHistory(
                recipient, outcome, duplicate_of=_duplicate_of(detail, original, by=by, result=result)
            )
        elif recipient == TRUNCATED:
            yield RecipientHistory(recipient, outcome, detail=text)
        else:
            yield RecipientHistory(recipient, outcome, detail=detail or None)


def _duplicate_kinds(
    records: Mapping[str, Mapping[str, object]],
) -> Iterator[tuple[str, tuple[str | None, str | None]]]:
    """Yield each recipient of a duplicate with the shared fingerprint's kind and the original's result."""
    for path, document in records.items():
        entries = document.get("duplicates")
        try:
            for entry in entries if isinstance(entries, list) else ():
                yield str(entry["recipient"]), (str(entry["by"]), str(entry["duplicate_of"]["result"]))
        except (LookupError, TypeError):
            raise MessageUnreadable(f"{path} is not a record that Mailroom wrote") from None


def _duplicate_of(arrival: str, original: Receipt | None, *, by: str | None, result: str | None) -> DuplicateOf:
    return DuplicateOf(
        message=(original.message or None) if original is not None else None,
        arrival=arrival,
        by=by,
        result=result,
        mailbox=None if original is None else original.mailbox,
        stored=None if original is None else original.stored_at,
    )


def _explain_routing(app: App, message: Message, receipt: Receipt) -> ExplainedRouting:
    """Return what routing would decide now for an arrival, with the reasons."""
    table = app.route_tables.for_mailbox(receipt.mailbox)
    if table is None:
        errors = [
            *app.settings.mailbox_errors.get(receipt.mailbox, ()),
            *app.route_repository.read().errors_for(receipt.mailbox),
        ]
        return ExplainedRouting(receipt.mailbox, receipt.folder, None, tuple(dict.fromkeys(errors)))
    mail = to_routing_input(message, receipt.folder, table.trust_policy)
    decision = decide(mail, table)
    message_fingerprints = fingerprints(receipt.message, visible_content(message, table.trust_policy))
    claims = Claims(app.storage.records, receipt, app.storage.blobs)
    matches = [_explain_match(app.storage, match, receipt, message_fingerprints, claims) for match in decision.matches]
    outcome, detail = _outcome_and_detail(decision, matches, mail)
    hints = dict.fromkeys(envelope_hints(message, table.trust_policy))
    return ExplainedRouting(
        receipt.mailbox,
        receipt.folder,
        outcome,
        detail=detail,
        envelope_recipients=tuple((hint.address, hint.where) for hint in hints),
        matches=tuple(matches),
        tried=tuple(_explain_tried(decision, mail, table)),
        unserved=tuple(decision.unserved),
    )


def _outcome_and_detail(
    decision: Decision, matches: Sequence[ExplainedMatch], mail: RoutingInput
) -> tuple[Literal["routed", "duplicate", "unhandled", "blocked"], str | None]:
    if decision.blocked_by is not None:
        return "blocked", f"BLOCKED_SENDERS has {decision.blocked_by}; From has {', '.join(mail.senders)}"
    if decision.unhandled is not None:
        return "unhandled", decision.unhandled.detail
    return ("duplicate" if all(match.duplicate_of for match in matches) else "routed"), None


def _explain_match(
    storage: Storage,
    match: Match,
    receipt: Receipt,
    message_fingerprints: tuple[Fingerprint, ...],
    claims: Claims,
) -> ExplainedMatch:
    existing = receipt.results().get(match.recipient)
    original = None if existing else claims.find_duplicate(message_fingerprints, match.recipient)
    new = result_path(match.route, receipt.stored_at, receipt.message, match.recipient)
    different = () if original else claims.different(message_fingerprints, match.recipient)
    return ExplainedMatch(
        recipient=match.recipient,
        route=match.route,
        matched=match.matched,
        reference=match.reference,
        instead_of=match.instead_of,
        result=existing or (new if original is None else None),
        has_result=existing is not None,
        duplicate_of=None if original is None else _from_claim(storage, original),
        same_message_id=tuple(_from_claim(storage, claim) for claim in different),
    )


def _from_claim(storage: Storage, claim: Claim) -> DuplicateOf:
    record = storage.records.get(Table.RECEIPTS, claim.owner)
    original = None if record is None else Receipt.from_record(record)
    duplicate_of = _duplicate_of(claim.owner, original, by=claim.kind.value, result=claim.result)
    return replace(duplicate_of, message=claim.message)


def _explain_tried(decision: Decision, mail: RoutingInput, table: RouteTable) -> Iterator[ExplainedAttempt]:
    near_misses = NearMisses(table)
    routes = {route.name: route for route in table.routes}
    conditions = cache(lambda name: tuple(failed_conditions(routes[name], mail)) if name in routes else ())
    for tried in decision.tried:
        has_no_route = tried.route is None and tried.address != ANY_RECIPIENT and not table.is_primary(tried.address)
        yield ExplainedAttempt(
            tried.address,
            tried.route,
            tried.reason,
            conditions(tried.route),
            tuple(near_misses.find(tried.address)) if has_no_route else (),
        )


def _new_receipt(app: App, mailbox: str, message: str, size: int, options: ExplainOptions) -> Receipt:
    """Return the receipt of a message that arrived now."""
    return Receipt(
        arrival="",
        mailbox=mailbox,
        protocol=app.settings.mailboxes[mailbox].protocol.value,
        folder=options.folder or "INBOX",
        server_key="",
        message=message,
        size=size,
        reported_size=size,
        received=None,
        stored_at=utc_now(),
    )
