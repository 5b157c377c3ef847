"""Find arrivals by what an operator knows of a message (docs/how-to/finding.md)."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from heapq import merge
from itertools import chain
from typing import Final, Literal, get_args

from shared.addresses import normalise
from shared.errors import ConfigurationError, MessageMissing
from shared.receipt_index import ReceiptIndex
from shared.receipts import MAX_MESSAGE_ID_LENGTH, TRUNCATED, Receipt, State, searchable_subject
from shared.routing.model import ANY_RECIPIENT
from shared.storage.base import FIRST_YEAR, Filter, Records, Table

MIN_ID_DIGITS: Final = 8
"""Hex digits with which the prefix of an id may be given, and with which ids are displayed at least."""

MAX_COMPARED: Final = 10
"""Ids that are compared with others before they are shortened, on tables: as many as an error lists."""

UNCHECKED_DIGITS: Final = 12
"""Hex digits of ids that are shortened without being compared.

Among ten million ids, one in 28 million displayed ids is ambiguous (16**12 / 10**7): a command that gets it lists the
candidates.
"""

MAX_CANDIDATES: Final = 10
"""Ids that an error lists if a prefix is ambiguous."""

ArrivalOutcome = Literal[
    "routed", "duplicate", "unhandled", "blocked", "failed", "waiting", "erased", "oversized", "unreadable"
]
"""An arrival's outcome, as `find` lists it; `waiting`: stored and not yet routed."""

OUTCOMES: Final[tuple[ArrivalOutcome, ...]] = get_args(ArrivalOutcome)

_OUTCOMES_BY_STATE: Final[Mapping[State, ArrivalOutcome]] = {
    State.STORED: "waiting",
    State.FAILED: "failed",
    State.OVERSIZED: "oversized",
    State.UNREADABLE: "unreadable",
    State.ERASED: "erased",
}
"""The outcomes of all states but `routed`, whose outcome routing decides."""

_UNPARSED: Final = (State.STORED, State.FAILED)
"""The states of downloaded arrivals that were never parsed: what a message contains is recorded when it is routed."""

_TIME_FORMS: Final = "today, yesterday, 7d, 12h or a day"

_EARLIEST: Final = datetime(FIRST_YEAR + 1, 1, 1, tzinfo=UTC)
"""The earliest time that a query names: tables compare times from 1601 on only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrivalQuery:
    """The properties of the arrivals to find. All of them must match; an empty query matches every arrival.

    Attributes:
        id: a message's id or an arrival's key, or a prefix of one.
        message_id: the Message-ID.
        sender: an address in From, normalised.
        recipient: a recipient by routing, or an address in To or Cc; normalised, or `*`.
        subject: a part of the subject, in any case.
        outcome: the outcome.
        mailbox: the mailbox's name in the settings.
        since: the earliest time at which it was stored, inclusive, UTC.
        until: the latest time, exclusive.
    """

    id: str = ""
    message_id: str = ""
    sender: str = ""
    recipient: str = ""
    subject: str = ""
    outcome: ArrivalOutcome | None = None
    mailbox: str = ""
    since: datetime | None = None
    until: datetime | None = None

    @property
    def uses_content(self) -> bool:
        """Whether it uses a property that an arrival has only after it was parsed."""
        return bool(self.message_id or self.sender or self.recipient or self.subject)


@dataclass(frozen=True)
class RecipientLookup:
    """Finds out which arrivals were routed for a recipient.

    Attributes:
        records: where receipts and claims are stored.
        address: the recipient's address, normalised, or `*`.
    """

    records: Records
    address: str

    def was_routed_for(self, receipt: Receipt) -> bool:
        """Return whether the recipient has a result or a duplicate of an arrival."""
        # A truncated receipt does not list all recipients, but the claims do.
        return self.address in receipt.outcomes or (TRUNCATED in receipt.outcomes and receipt.arrival in self._owners)

    @cached_property
    def _owners(self) -> set[str]:
        """The arrivals that hold claims on the recipient. Read once: many receipts may be truncated."""
        claims = self.records.scan(Table.CLAIMS, Filter(equal={"recipient": self.address}))
        return {str(record.values["owner"]) for record in claims}


def outcome_of(receipt: Receipt) -> ArrivalOutcome:
    """Return an arrival's outcome. For a part of its recipients it may be a duplicate and still be `routed`."""
    if receipt.state is not State.ROUTED:
        return _OUTCOMES_BY_STATE[receipt.state]
    return next((outcome for outcome in OUTCOMES if outcome == receipt.outcome), "routed")


def find_arrivals(records: Records, query: ArrivalQuery) -> Iterator[Receipt]:
    """Yield the receipts of the arrivals that match, each once, in no particular order."""
    index = ReceiptIndex(records)
    filters = list(_filters(query))
    if query.id and index.is_needed:
        arrivals = map(Receipt.from_record, records.scan(Table.RECEIPTS, filters[0]))
        return _matching(records, chain(arrivals, index.with_message(query.id)), query)
    scans = (records.scan(Table.RECEIPTS, filter_) for filter_ in filters)
    return _matching(records, map(Receipt.from_record, chain.from_iterable(scans)), query)


def find_newest_first(records: Records, query: ArrivalQuery) -> Iterator[Receipt]:
    """Yield the receipts of the arrivals that match, each once, the latest first; equally late ones by their keys.

    With an index, only the receipts up to the last one that the caller takes are read. The index of tables has no
    senders and texts: by these, all receipts of the time are read.

    Raises:
        MessageMissing: no message has the id of the query.
        ConfigurationError: several messages have such an id.
    """
    if query.id:
        return _matching(records, reversed(find_by_id(records, query.id)), query)
    index = ReceiptIndex(records)
    if index.is_needed and not query.uses_content:
        outcomes = OUTCOMES if query.outcome is None else (query.outcome,)
        newest = index.newest_first(outcomes=outcomes, mailbox=query.mailbox, since=query.since, until=query.until)
        return _matching(records, newest, query)
    scans = [records.scan_newest(Table.RECEIPTS, filter_) for filter_ in _filters(query)]
    newest_first = merge(*scans, key=lambda record: (record.values["stored_at"], record.key), reverse=True)
    return _matching(records, map(Receipt.from_record, newest_first), query)


def _matching(records: Records, candidates: Iterable[Receipt], query: ArrivalQuery) -> Iterator[Receipt]:
    """Yield the receipts that match, each once. Filters are less exact than queries."""
    keys: set[str] = set()
    recipient = RecipientLookup(records, query.recipient)
    for receipt in candidates:
        if receipt.arrival not in keys and _matches(receipt, query, recipient):
            keys.add(receipt.arrival)
            yield receipt


def find_by_id(records: Records, prefix: str) -> list[Receipt]:
    """Return the arrivals of one message, or one arrival, by the beginning of its id.

    Args:
        records: where receipts are stored.
        prefix: a message's id or an arrival's key, or a prefix of one.

    Raises:
        MessageMissing: there is no such message.
        ConfigurationError: several messages have such an id; the error lists them.
    """
    receipts = list(find_arrivals(records, ArrivalQuery(id=prefix)))
    if not receipts:
        raise MessageMissing(f"there is no message or arrival {prefix}")
    by_id = {display_id(receipt): receipt for receipt in receipts}
    if len(by_id) > 1:
        ids = sorted(by_id)[:MAX_CANDIDATES]
        short_ids = shorten_ids(records, ids)
        more = [f"  and {len(by_id) - len(ids)} more"] if len(by_id) > len(ids) else []
        raise ConfigurationError(
            f"{prefix} is the beginning of {len(by_id)} ids; give more digits:",
            *(f"  {short_ids[id_]}  {_describe(by_id[id_])}" for id_ in ids),
            *more,
        )
    return sorted(receipts, key=lambda receipt: (receipt.stored_at, receipt.arrival))


def display_id(receipt: Receipt) -> str:
    """Return the id by which an arrival is displayed: its message's; its own if it has no message."""
    return receipt.message or receipt.arrival


def shorten_ids(records: Records, ids: Collection[str]) -> dict[str, str]:
    """Return a short prefix of each id: the shortest that no other id in the store has, of `MIN_ID_DIGITS` at least.

    On tables, it takes a query in each partition to compare an id with others. More than `MAX_COMPARED` ids are not
    compared, and each prefix has `UNCHECKED_DIGITS`.

    Args:
        records: where receipts are stored.
        ids: ids of messages and keys of arrivals.
    """
    if len(ids) > MAX_COMPARED and ReceiptIndex(records).is_needed:
        return {id_: id_[:UNCHECKED_DIGITS] for id_ in ids}
    by_prefix: defaultdict[str, set[str]] = defaultdict(set)
    for id_ in ids:
        by_prefix[id_[:MIN_ID_DIGITS]].add(id_)
    lengths = dict.fromkeys(ids, MIN_ID_DIGITS)
    for owner, other in _ids_with_prefixes(records, by_prefix):
        for id_ in by_prefix.get(other[:MIN_ID_DIGITS], ()):
            # A message's prefix may also be that of its own arrival: both name the same message.
            if id_ not in (other, owner):
                lengths[id_] = max(lengths[id_], _common_length(id_, other) + 1)
    return {id_: id_[: lengths[id_]] for id_ in ids}


def count_unparsed(records: Records, query: ArrivalQuery) -> int:
    """Return the number of downloaded arrivals in a query's mailbox and time that were never parsed.

    They wait to be routed, or failed: their senders, recipients and subjects are unknown.
    """
    index = ReceiptIndex(records)
    if index.is_needed:
        failed = index.newest_first(outcomes=("failed",), mailbox=query.mailbox, since=query.since, until=query.until)
        waiting = index.count_waiting(mailbox=query.mailbox, since=query.since, until=query.until)
        return waiting + sum(1 for _ in failed)
    counts = records.count(Table.RECEIPTS, ("mailbox", "state"), Filter(since=query.since, until=query.until))
    return sum(
        count for (mailbox, state), count in counts.items() if state in _UNPARSED and query.mailbox in ("", mailbox)
    )


def parse_id(text: str) -> str:
    """Parse an id or a prefix of one.

    Raises:
        ConfigurationError: it is not one.
    """
    id_ = text.strip().lower()
    if not is_id(id_):
        raise ConfigurationError(
            f"{text.strip()} is not an id: give {MIN_ID_DIGITS} to 64 hex digits of a message's or an arrival's id"
        )
    return id_


def is_id(text: str) -> bool:
    """Return whether a text has the form of an id or of a prefix of one."""
    return re.fullmatch(rf"[0-9a-f]{{{MIN_ID_DIGITS},64}}", text.strip().lower()) is not None


def parse_message_id(text: str) -> str:
    """Return a Message-ID as receipts hold it, from text with or without angle brackets."""
    text = text.strip()
    return (text[1:-1] if text.startswith("<") and text.endswith(">") else text)[:MAX_MESSAGE_ID_LENGTH]


def parse_recipient(text: str) -> str:
    """Return an address, normalised; `*` stays as it is.

    Raises:
        ConfigurationError: it is not an address.
    """
    if text.strip() == ANY_RECIPIENT:
        return ANY_RECIPIENT
    address = normalise(text)
    if address is None:
        raise ConfigurationError(f"{text} is not an address; write it like name@example.com")
    return address


def parse_outcome(text: str) -> ArrivalOutcome:
    """Parse an outcome.

    Raises:
        ConfigurationError: there is no such outcome.
    """
    for outcome in OUTCOMES:
        if outcome == text.strip().lower():
            return outcome
    raise ConfigurationError(f"there is no outcome {text}; the outcomes are {', '.join(OUTCOMES)}")


def parse_time(text: str, *, now: datetime, option: str) -> datetime:
    """Return a time, UTC: the beginning of a day, or the time before a number of days or hours.

    Args:
        text: `today`, `yesterday`, a day such as `2026-11-24`, or an age such as `7d` or `12h`.
        now: the current time.
        option: the option that it was given to, for errors.

    Raises:
        ConfigurationError: it is none of these.
    """
    age = _parse_age(text)
    if age is not None:
        try:
            return max(now - age, _EARLIEST)
        except OverflowError:
            return _EARLIEST
    return max(_midnight(_parse_day(text, now=now, option=option, forms=_TIME_FORMS)), _EARLIEST)


def parse_end(text: str, *, now: datetime, option: str) -> datetime | None:
    """Return the exclusive end of a range, UTC: the end of a day, or the time before a number of days or hours.

    The arguments and errors are those of `parse_time`. None: the range has no end.
    """
    if _parse_age(text) is not None:
        return parse_time(text, now=now, option=option)
    day = _parse_day(text, now=now, option=option, forms=_TIME_FORMS)
    return None if day == date.max else max(_midnight(day + timedelta(days=1)), _EARLIEST)


def parse_day(text: str, *, now: datetime, option: str) -> date:
    """Return a day, UTC, from `today`, `yesterday`, a number of days before today such as `7d`, or a date.

    Raises:
        ConfigurationError: it is none of these.
    """
    age = _parse_age(text)
    if age is not None and text.strip().lower().endswith("d"):
        try:
            return now.date() - age
        except OverflowError:
            return date.min
    return _parse_day(text, now=now, option=option, forms="today, yesterday, 7d or a day")


def _parse_day(text: str, *, now: datetime, option: str, forms: str) -> date:
    word = text.strip().lower()
    if word in ("today", "yesterday"):
        return now.date() - timedelta(days=int(word == "yesterday"))
    try:
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", word, re.ASCII):
            return date.fromisoformat(word)
    except ValueError:
        pass  # 2026-02-30 has the form of a day.
    raise ConfigurationError(f"{option}: {text} is not a time; write {forms} such as 2026-11-24, all in UTC")


def _parse_age(text: str) -> timedelta | None:
    age = re.fullmatch(r"(\d{1,9})([dh])", text.strip().lower(), re.ASCII)
    if age is None:
        return None
    return timedelta(days=int(age[1])) if age[2] == "d" else timedelta(hours=int(age[1]))


def _describe(receipt: Receipt) -> str:
    """Return a line that distinguishes an arrival from others."""
    sender = f" from {receipt.senders[0]}" if receipt.senders else ""
    return f"{outcome_of(receipt)}{sender}, stored {receipt.stored_at:%Y-%m-%d %H:%M} from mailbox {receipt.mailbox}"


def _ids_with_prefixes(records: Records, prefixes: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield each id in the store that begins with one of several prefixes, after the id of its message.

    An id of the same arrival or message may be among them, and others that begin differently.
    """
    index = ReceiptIndex(records)
    filters = [Filter(key_prefix=prefix) for prefix in prefixes]
    if not index.is_needed:
        filters += [Filter(prefixes={"message": prefix}) for prefix in prefixes]
    found = (Receipt.from_record(record) for filter_ in filters for record in records.scan(Table.RECEIPTS, filter_))
    for receipt in chain(found, index.with_message(*prefixes) if index.is_needed else ()):
        yield receipt.message, receipt.arrival
        if receipt.message:
            yield receipt.message, receipt.message


def _common_length(text: str, other: str) -> int:
    return next((number for number, (a, b) in enumerate(zip(text, other, strict=False)) if a != b), len(text))


def _filters(query: ArrivalQuery) -> Iterator[Filter]:
    """Yield the most selective storage filters for a query. Each receipt is checked against the query as well."""
    equal: dict[str, str | bool] = {"mailbox": query.mailbox} if query.mailbox else {}
    if query.message_id:
        equal["message_id"] = query.message_id
    if query.outcome is not None:
        states = [state for state, outcome in _OUTCOMES_BY_STATE.items() if outcome == query.outcome]
        # A failed arrival has that outcome in its state alone; all others were routed.
        equal |= {"state": states[0].value} if states else {"state": State.ROUTED.value, "outcome": query.outcome}
    since, until = query.since, query.until
    if query.id:
        yield Filter(key_prefix=query.id, equal=equal, since=since, until=until)
        yield Filter(prefixes={"message": query.id}, equal=equal, since=since, until=until)
    elif query.sender:
        yield Filter(equal={**equal, "sender": query.sender}, since=since, until=until)
        yield Filter(equal={**equal, "several_senders": True}, since=since, until=until)
    else:
        yield Filter(equal=equal, since=since, until=until)


def _matches(receipt: Receipt, query: ArrivalQuery, recipient: RecipientLookup) -> bool:
    if query.mailbox not in ("", receipt.mailbox) or (
        query.outcome is not None and query.outcome != outcome_of(receipt)
    ):
        return False
    is_later = query.until is not None and receipt.stored_at >= query.until
    if is_later or (query.since is not None and receipt.stored_at < query.since):
        return False
    if query.sender and query.sender not in receipt.senders:
        return False
    if query.subject and _fold(query.subject) not in _fold(receipt.subject):
        return False
    return not query.recipient or query.recipient in receipt.to_and_cc or recipient.was_routed_for(receipt)


def _fold(subject: str) -> str:
    return unicodedata.normalize("NFC", searchable_subject(subject)).casefold()


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
