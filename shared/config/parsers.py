"""Parse the texts of settings into values.

Each parser takes a text without surrounding white space and raises `InvalidValue`. The parsers that routes need too are
in `shared.setting_values`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Literal, TypeVar
from urllib.parse import SplitResult, urlsplit

from pydantic import SecretStr

from shared.config.presets import GLOBAL_GRAPH, After, DeliveryField
from shared.config.validation import closest_name
from shared.errors import InvalidValue
from shared.setting_values import parse_folder, parse_list
from shared.storage.location import StorageLocation

Choice = TypeVar("Choice", bound=StrEnum)
Value = TypeVar("Value")

_UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}
_FILE_MODE = re.compile(r"(?:0o)?([0-7]{3,4})")
_HOST = re.compile(r"[^\s/@:\[\]()<>,;\"'\\\x00-\x1f\x7f]{1,253}")
_SHORTEST_KEY, _MOST_KEYS = 32, 2
_FIELD_NAME = re.compile(r"[!-9;-~]{1,76}")  # RFC 5322 section 3.6.8; a line has at most 78 characters
_ANYWHERE = "!"
"""Follows the name of a header in DELIVERY_FIELDS that counts anywhere."""

NO_DELIVERY_FIELDS = frozenset(
    {"from", "sender", "reply-to", "to", "cc", "bcc", "message-id", "in-reply-to", "references", "return-path"}
    | {"subject", "date", "content-type", "mime-version", "dkim-signature"}
)
"""Headers that the sender writes, in lower case."""

_REFUSED_FIELDS = {
    **dict.fromkeys(NO_DELIVERY_FIELDS, "is a header that the sender writes; name one that the receiving server adds"),
    **dict.fromkeys(("received", "received-for"), "is read without this setting; see TRUSTED_HOPS and RECEIVED_BY"),
    # Values of `matched` in a result.
    **dict.fromkeys(("wildcard", "fallback"), "has another meaning in results; give the header another name"),
}


def parse_choice(choices: type[Choice]) -> Callable[[str], Choice]:
    """Return a parser for one of the words of an enumeration."""
    words = [choice.value for choice in choices]
    *others, last = words
    fix = f"use {', '.join(others)} or {last}"

    def parse(text: str) -> Choice:
        word = text.lower()
        if word not in words:
            # A text that resembles none of the words may be anything, a misplaced password included.
            raise InvalidValue(f"is not known; {fix}", text if closest_name(word, words) else "the value")
        return choices(word)

    return parse


def matching(pattern: str, detail: str, convert: Callable[[re.Match[str]], Value]) -> Callable[[str], Value]:
    """Return a parser for texts that a regular expression matches as a whole; `convert` makes the match a value."""

    def parse(text: str) -> Value:
        match = re.fullmatch(pattern, text)
        if match is None:
            raise InvalidValue(f"the value is not {detail}")
        return convert(match)

    return parse


parse_identifier = matching(
    r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?",
    "an id; copy it from the app registration's overview",
    re.Match.group,
)
parse_container = matching(
    r"(?=.{3,63}$)[a-z0-9]+(-[a-z0-9]+)*",
    "a container's name; use 3 to 63 lower-case letters, digits and single hyphens",
    re.Match.group,
)
parse_seconds = matching(
    r"(?=.*[1-9])\+?[0-9]{1,15}(\.[0-9]{1,15})?",
    "a number of seconds; use a number above 0, such as 300",
    lambda match: float(match[0]),
)
parse_size = matching(
    r"(?i)0*([1-9][0-9]{0,14})\s*([kmg]?)i?b?",
    "a size; use a number of bytes above 0, or one with KB, MB or GB, such as 150MB",
    lambda match: int(match[1]) * _UNITS[match[2].lower()],
)
# NCRONTAB. With five fields, the host would take minutes for seconds.
parse_schedule = matching(
    r"[0-9A-Za-z*/,-]+(\s+[0-9A-Za-z*/,-]+){5}",
    "a schedule of six fields, seconds first; write it as in 0 * * * * *",
    lambda match: " ".join(match[0].split()),
)


def parse_storage(text: str) -> StorageLocation:
    """Parse the location of the storage of mail."""
    try:
        return StorageLocation.parse(text, setting="MAIL_STORAGE")
    except ValueError as error:
        raise InvalidValue(str(error)) from None


def parse_file_mode(text: str) -> int:
    """Parse a file's mode in octal digits, such as `0640`."""
    match = _FILE_MODE.fullmatch(text.lower())
    if match is None:
        raise InvalidValue("the value is not a file mode; use octal digits, such as 0600 or 0640")
    mode = int(match[1], 8)
    if mode & ~0o666:
        raise InvalidValue("sets more than r and w; use 0600, 0640 or 0660, folders get x by themselves", text)
    if mode & 0o600 != 0o600:  # noqa: PLR2004
        raise InvalidValue("keeps the files' owner from reading or writing; begin with 06, as in 0640", text)
    if mode & 0o002:
        raise InvalidValue("lets every user of the machine write; use 0600, 0640 or 0660", text)
    return mode


def parse_folders(text: str) -> tuple[str, ...]:
    """Parse the folders to poll, each named once."""
    folders = [parse_folder(entry.strip()) for entry in text.split(";") if entry.strip()]
    repeated = sorted({folder for folder in folders if folders.count(folder) > 1})
    if repeated:
        raise InvalidValue("is named twice; name each folder once", ", ".join(repeated))
    return tuple(folders) or ("INBOX",)


def parse_after(text: str) -> After:
    """Parse `delete`, `trash`, `keep` or `move:FOLDER`; `parse_move_target` returns the folder."""
    word, _, folder = (part.strip() for part in text.partition(":"))
    word = word.lower()
    if word == "move":
        if not folder:
            raise InvalidValue("move names no folder; write move:Archive")
        parse_folder(folder)
        return After.MOVE
    if word == "delete-permanently" and not folder:
        raise InvalidValue("was replaced by delete, which deletes permanently where the server can; use delete", word)
    if word not in ("delete", "trash", "keep") or folder:
        raise InvalidValue("the value is not known; use delete, trash, keep, or move: and a folder, as in move:Archive")
    return After(word)


def parse_move_target(text: str) -> str:
    """Return the folder of an AFTER that `parse_after` accepted as a move."""
    return parse_folder(text.partition(":")[2].strip())


def parse_delivery_fields(text: str) -> tuple[DeliveryField, ...]:
    """Parse names of delivery headers; each may end in `!`."""
    fields: dict[str, DeliveryField] = {}
    for entry in parse_list(text):
        field = DeliveryField(entry.removesuffix(_ANYWHERE).lower(), entry.endswith(_ANYWHERE))
        if not _FIELD_NAME.fullmatch(field.name):
            fix = "write the name alone, without colon and blanks, as in X-Alias"
            raise InvalidValue(f"is not a header's name; {fix}", entry)
        if field.name in _REFUSED_FIELDS:
            raise InvalidValue(_REFUSED_FIELDS[field.name], entry)
        if fields.setdefault(field.name, field) != field:
            detail = f"is named with {_ANYWHERE} and without; keep one of the two"
            raise InvalidValue(detail, entry.removesuffix(_ANYWHERE))
    return tuple(fields.values())


def parse_since(text: str) -> datetime | Literal["now"]:
    """Parse `now`, or an ISO 8601 date or date-time; return it in UTC, which is also its default time zone."""
    if text.lower() == "now":
        return "now"
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidValue("the value is not a date; write 2026-11-23, 2026-11-23T08:00:00Z or now") from None


def parse_host(text: str) -> str:
    """Parse a DNS name or an IP address, without a port."""
    try:
        return str(ipaddress.ip_address(text.removeprefix("[").removesuffix("]")))
    except ValueError:
        pass
    host = text.rstrip(".")
    if not _HOST.fullmatch(host):
        fix = "write the name alone, as in imap.example.com, and the port in PORT"
        raise InvalidValue(f"the value is not a host name; {fix}")
    return host


def is_loopback(host: str) -> bool:
    """Return whether a host, as `parse_host` returns it, is always this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def https_url(path: str, detail: str) -> Callable[[str], str]:
    """Return a parser for https URLs whose path a regular expression matches, without query and fragment."""

    def parse(text: str) -> str:
        parts = _split_url(text)
        if parts is None or not re.fullmatch(path, parts.path) or parts.query or parts.fragment:
            raise InvalidValue(f"the value is not {detail}")
        port = f":{parts.port}" if parts.port is not None else ""
        return f"https://{parts.hostname}{port}{parts.path.rstrip('/')}"

    return parse


parse_authority = https_url("/*", "the URL of a token service; write https and the host alone, TENANT_ID follows it")
parse_endpoint = https_url(
    "/[A-Za-z0-9.]+/?", f"the URL of Microsoft Graph; write it with its version, as in {GLOBAL_GRAPH}"
)


def parse_webhook(text: str) -> str:
    """Parse the URL that Graph sends notifications to: https, or http to this machine for tests."""
    # urlsplit ignores line feeds and tabs.
    parts = _split_url(text, loopback=True) if text.isprintable() and " " not in text else None
    if parts is None or not parts.path.strip("/") or parts.fragment:
        raise InvalidValue(
            "the value is not a URL that Graph could send notifications to; write the function's whole public "
            "URL, as in https://APP.azurewebsites.net/api/graph_webhook"
        )
    return text


def parse_keys(text: str) -> tuple[SecretStr, ...]:
    """Parse one key, or two separated by `;`."""
    keys = [key.strip() for key in text.split(";") if key.strip()]
    if not 1 <= len(keys) <= _MOST_KEYS or min(map(len, keys)) < _SHORTEST_KEY:
        raise InvalidValue(
            f"the value is not a key, or a pair of keys separated by ;, of {_SHORTEST_KEY} characters or more; make "
            "one with openssl rand -hex 32"
        )
    return tuple(map(SecretStr, keys))


def _split_url(text: str, *, loopback: bool = False) -> SplitResult | None:
    """Split an https URL; return None if it is not one. With `loopback`, http to this machine is accepted too."""
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return None
    host = parts.hostname or ""
    local = loopback and is_loopback(host)
    valid = parts.scheme == "https" or (local and parts.scheme == "http")
    return parts if valid and "@" not in parts.netloc and (local or _HOST.fullmatch(host)) else None
