"""Where everything stands in the container (docs/reference/rules.md, "What is stored"): the one place that builds
paths.

The day in a path is the receipt's, so that a second try after midnight writes the same path.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final, Literal, get_args

from shared.keys import SHORT, shorten

RecordKind = Literal["unhandled", "duplicates", "blocked", "failed"]
"""What becomes of a message that leaves a record and no result."""

FATES: Final[tuple[RecordKind, ...]] = get_args(RecordKind)

NeverDownloaded = Literal["oversized", "unreadable"]
"""Why a message that stays in its mailbox has a record."""

RESULTS: Final = "routed/"
"""How the paths of all results begin."""


def message_folder(message: str) -> str:
    """The folder of a message, with a `/` at its end.

    Args:
        message: its id, the SHA-256 of its bytes.
    """
    return f"messages/{message[:2]}/{message}/"


def raw_path(message: str) -> str:
    """The bytes exactly as downloaded."""
    return message_folder(message) + "raw.eml"


def parsed_path(message: str) -> str:
    """The parsed message."""
    return message_folder(message) + "message.json"


def attachment_path(message: str, number: int, safe_name: str) -> str:
    """An attachment's decoded bytes."""
    return f"{message_folder(message)}attachments/{member_name(number, safe_name)}"


def member_name(number: int, safe_name: str) -> str:
    """Return the name of an attachment in its folder, or in the archive."""
    return f"{number:02}-{safe_name}"


def archive_path(message: str) -> str:
    """Return the path of the ZIP file of the attachments that are not blobs of their own."""
    return f"{message_folder(message)}attachments/archive.zip"


def result_path(route: str, stored_at: datetime, message: str, recipient: str) -> str:
    """The result of one recipient of one message."""
    return f"{RESULTS}{route}/{_day(stored_at)}/{message}-{shorten(recipient)}.json"


def reissued_result_path(route: str, stored_at: datetime, message: str, recipient: str, again: str) -> str:
    """The result that a replay, known by `again`, writes in place of an earlier one; a retry writes the same path."""
    return result_path(route, stored_at, message, recipient).removesuffix(".json") + f"-{shorten(again)}.json"


def is_result_for(path: str, recipient: str) -> bool:
    """Whether a result's path is one of this recipient, whichever route it is under and whether or not the first."""
    return path.startswith(RESULTS) and path.rpartition("/")[2].removesuffix(".json").split("-")[1:2] == [
        shorten(recipient)
    ]


def route_of_result(path: str) -> str:
    """The route that a result's path names."""
    return path.split("/")[1]


def message_of(path: str) -> str:
    """The id of the message that the path of a result, or of its arrival's record, names."""
    return path.rpartition("/")[2].partition("-")[0]


def is_first_result(path: str) -> bool:
    """Whether a path is a result's, and no replay put it in another's place."""
    return path.startswith(RESULTS) and path.rpartition("/")[2].count("-") == 1


def record_path(fate: RecordKind, mailbox: str, stored_at: datetime, message: str, arrival: str) -> str:
    """What became of an arrival that has no result, or not for every recipient."""
    return f"{fate}/{mailbox}/{_day(stored_at)}/{message}-{arrival[:SHORT]}.json"


def skipped_path(why: NeverDownloaded, mailbox: str, stored_at: datetime, arrival: str) -> str:
    """A message that was never downloaded and stays in its mailbox."""
    return f"{why}/{mailbox}/{_day(stored_at)}/{arrival[:SHORT]}.json"


def _day(stored_at: datetime) -> str:
    return stored_at.strftime("%Y/%m/%d")
