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

from shared.addresses import normalise
from shared.config.choices import After, DeliveryField
from shared.config.presets import GLOBAL_GRAPH
from shared.config.validation import closest_name
from shared.errors import InvalidValue
from shared.setting_values import parse_folder, parse_integer, parse_list

Choice = TypeVar("Choice", bound=StrEnum)

_DECIMAL = re.compile(r"[-+]?[0-9]{1,15}(\.[0-9]{1,15})?")
_SIZE = re.compile(r"([0-9]{1,15})\s*([kmg]?)i?b?", re.IGNORECASE)
_UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}
_FILE_MODE = re.compile(r"(?:0o)?([0-7]{3,4})")
_CONTAINER = re.compile(r"(?=.{3,63}$)[a-z0-9]+(-[a-z0-9]+)*")
_HOST = re.compile(r"[^\s/@:\[\]()<>,;\"'\\\x00-\x1f\x7f]{1,253}")
_IDENTIFIER = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_SCHEDULE_FIELD = re.compile(r"[0-9A-Za-z*/,-]+")
_SCHEDULE_FIELDS = 6
_LAST_PORT = 65535
_VERSION = re.compile(r"/[A-Za-z0-9.]+/?")
_SHORTEST_KEY, _MOST_KEYS = 32, 2
_FIELD_NAME = re.compile(r"[!-9;-~]{1,76}")  # RFC 5322 section 3.6.8; a line has at most 78 characters
_ANYWHERE = "!"
"""Follows the name of a header in DELIVERY_FIELDS that counts anywhere."""

NO_DELIVERY_FIELDS = frozenset(
    {"from", "sender", "reply-to", "to", "cc", "bcc", "message-id", "in-reply-to", "references", "return-path"}
    | {"subject", "date", "content-type", "mime-version", "dkim-signature"}
)
"""Headers that the sender writes, in lower case."""

_READ_WITHOUT_SETTING = frozenset({"received", "received-for"})
_RESERVED_IN_RESULTS = frozenset({"wildcard", "fallback"})  # values of `matched` in a result


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


parse_port = parse_integer(1, _LAST_PORT, "a port")


def parse_seconds(text: str) -> float:
    """Parse a number of seconds above 0, with or without decimals."""
    if not _DECIMAL.fullmatch(text) or float(text) <= 0:
        raise InvalidValue("the value is not a number of seconds; use a number above 0, such as 300")
    return float(text)


def parse_size(text: str) -> int:
    """Parse a size in bytes, such as `1000` or `150MB`; units are powers of 1024."""
    match = _SIZE.fullmatch(text)
    if not match or int(match[1]) == 0:
        raise InvalidValue(
            "the value is not a size; use a number of bytes above 0, or one with KB, MB or GB, such as 150MB"
        )
    return int(match[1]) * _UNITS[match[2].lower()]


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
            raise InvalidValue(
                "is not a header's name; write the name alone, without colon and blanks, as in X-Alias", entry
            )
        if field.name in NO_DELIVERY_FIELDS:
            raise InvalidValue("is a header that the sender writes; name one that the receiving server adds", entry)
        if field.name in _READ_WITHOUT_SETTING:
            raise InvalidValue("is read without this setting; see TRUSTED_HOPS and RECEIVED_BY", entry)
        if field.name in _RESERVED_IN_RESULTS:
            raise InvalidValue("has another meaning in results; give the header another name", entry)
        if fields.setdefault(field.name, field) != field:
            raise InvalidValue(
                f"is named with {_ANYWHERE} and without; keep one of the two", entry.removesuffix(_ANYWHERE)
            )
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
        raise InvalidValue(
            "the value is not a host name; write the name alone, as in imap.example.com, and the port in PORT"
        )
    return host


def is_loopback(host: str) -> bool:
    """Return whether a host, as `parse_host` returns it, is always this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def parse_shared_mailbox(text: str) -> str:
    """Return a shared mailbox's name, normalised if it is an address."""
    return normalise(text) or text


def parse_identifier(text: str) -> str:
    """Parse a tenant or client id: a GUID, or one of the tenant's domains."""
    if not _IDENTIFIER.fullmatch(text):
        raise InvalidValue("the value is not an id; copy it from the app registration's overview")
    return text


def parse_certificate(text: str) -> str:
    r"""Return PEM or base64; `\n` in a single line of PEM is replaced by a line feed."""
    return text if "\n" in text.strip() else text.replace(r"\n", "\n")


def parse_schedule(text: str) -> str:
    """Parse an NCRONTAB schedule. With five fields, the host would take minutes for seconds."""
    fields = text.split()
    if len(fields) != _SCHEDULE_FIELDS or not all(map(_SCHEDULE_FIELD.fullmatch, fields)):
        raise InvalidValue("the value is not a schedule of six fields, seconds first; write it as in 0 * * * * *")
    return " ".join(fields)


def parse_container(text: str) -> str:
    """Parse the name of a container in Blob Storage."""
    if not _CONTAINER.fullmatch(text):
        raise InvalidValue(
            "the value is not a container's name; use 3 to 63 lower-case letters, digits and single hyphens"
        )
    return text


def parse_authority(text: str) -> str:
    """Parse the URL of the token service: https, a host, perhaps a port, no path."""
    parts = _split_https(text)
    if parts is None or parts.path.strip("/") or parts.query or parts.fragment:
        raise InvalidValue(
            "the value is not the URL of a token service; write https and the host alone, TENANT_ID follows it"
        )
    return _origin(parts)


def parse_endpoint(text: str) -> str:
    """Parse the URL of Microsoft Graph: https, a host, perhaps a port, and the version as its path."""
    parts = _split_https(text)
    if parts is None or not _VERSION.fullmatch(parts.path) or parts.query or parts.fragment:
        raise InvalidValue(
            f"the value is not the URL of Microsoft Graph; write it with its version, as in {GLOBAL_GRAPH}"
        )
    return _origin(parts) + parts.path.rstrip("/")


def parse_webhook(text: str) -> str:
    """Parse the URL that Graph sends notifications to: https, or http to this machine for tests."""
    # urlsplit ignores line feeds and tabs.
    parts = _split_https(text, loopback=True) if text.isprintable() and " " not in text else None
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


def _split_https(text: str, *, loopback: bool = False) -> SplitResult | None:
    """Split a URL; return None if it is not an https URL with a valid host."""
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return None
    host = parts.hostname or ""
    if "@" in parts.netloc or not (_HOST.fullmatch(host) or (loopback and is_loopback(host))):
        return None
    plain = loopback and parts.scheme == "http" and is_loopback(host)
    return parts if parts.scheme == "https" or plain else None


def _origin(parts: SplitResult) -> str:
    return f"https://{parts.hostname}" + (f":{parts.port}" if parts.port is not None else "")
