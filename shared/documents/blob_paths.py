"""The paths of all blobs in the container (docs/reference/rules.md, "What is stored"). No other module builds paths.

The day in a path is that of the receipt, so that a second attempt after midnight writes the same path.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final, Literal, get_args

from shared.keys import SHORT, shorten

RecordKind = Literal["unhandled", "duplicates", "blocked", "failed"]
"""The kinds of record of a downloaded message that has no result, or not for every recipient."""

RECORD_KINDS: Final[tuple[RecordKind, ...]] = get_args(RecordKind)

SkippedKind = Literal["oversized", "unreadable"]
"""The kinds of record of a message that was skipped and stays in its mailbox."""

RESULTS_PREFIX: Final = "routed/"
"""The prefix of the paths of all results."""


def raw_path(message: str) -> str:
    """Return the path of the bytes exactly as downloaded.

    It is not in the message's folder: in a folder storage, intake need not create and sync a folder for each message.

    Args:
        message: its id, the SHA-256 of its bytes.
    """
    return f"messages/{message[:2]}/{message}.eml"


def message_folder(message: str) -> str:
    """Return the folder of the parsed message and its attachments, with a `/` at its end."""
    return f"messages/{message[:2]}/{message}/"


def parsed_path(message: str) -> str:
    """Return the path of the parsed message."""
    return message_folder(message) + "message.json"


def attachment_path(message: str, number: int, safe_name: str) -> str:
    """Return the path of an attachment's decoded bytes."""
    return f"{message_folder(message)}attachments/{member_name(number, safe_name)}"


def member_name(number: int, safe_name: str) -> str:
    """Return the name of an attachment in its folder, or in the archive."""
    return f"{number:02}-{safe_name}"


def archive_path(message: str) -> str:
    """Return the path of the ZIP file of the attachments that are not blobs of their own."""
    return f"{message_folder(message)}attachments/archive.zip"


def result_path(route: str, stored_at: datetime, message: str, recipient: str) -> str:
    """Return the path of the result of one recipient of one message."""
    return f"{RESULTS_PREFIX}{route}/{_day(stored_at)}/{message}-{shorten(recipient)}.json"


def reissued_result_path(route: str, stored_at: datetime, message: str, recipient: str, reissue: str) -> str:
    """Return the path of the result that a replay writes in place of another.

    A retry writes the same path, since `reissue` is the id of the replay.
    """
    return result_path(route, stored_at, message, recipient).removesuffix(".json") + f"-{shorten(reissue)}.json"


def is_result_for(path: str, recipient: str) -> bool:
    """Return whether a path is that of a result of this recipient, under any route, first or reissued."""
    return path.startswith(RESULTS_PREFIX) and path.rpartition("/")[2].removesuffix(".json").split("-")[1:2] == [
        shorten(recipient)
    ]


def route_of_result(path: str) -> str:
    """Return the route in the path of a result."""
    return path.split("/")[1]


def message_in_path(path: str) -> str:
    """Return the message id in the path of a result, or of a record of a downloaded message."""
    return path.rpartition("/")[2].partition("-")[0]


def is_first_result(path: str) -> bool:
    """Return whether a path is that of a result which did not replace another."""
    return path.startswith(RESULTS_PREFIX) and path.rpartition("/")[2].count("-") == 1


def record_path(kind: RecordKind, mailbox: str, stored_at: datetime, message: str, arrival: str) -> str:
    """Return the path of the record of an arrival that has no result, or not for every recipient."""
    return f"{kind}/{mailbox}/{_day(stored_at)}/{message}-{arrival[:SHORT]}.json"


def skipped_path(kind: SkippedKind, mailbox: str, stored_at: datetime, arrival: str) -> str:
    """Return the path of the record of a skipped message."""
    return f"{kind}/{mailbox}/{_day(stored_at)}/{arrival[:SHORT]}.json"


def _day(stored_at: datetime) -> str:
    return stored_at.strftime("%Y/%m/%d")
