"""From a setting's text to its value. Each function takes text without blanks around it and raises `InvalidValue`."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Literal, NamedTuple, TypeVar
from urllib.parse import SplitResult, urlsplit

from shared.config.model import GLOBAL_GRAPH, After
from shared.config.validation import closest_name
from shared.errors import InvalidValue

Choice = TypeVar("Choice", bound=StrEnum)

_NUMBER = re.compile(r"[-+]?[0-9]{1,15}")
_DECIMAL = re.compile(r"[-+]?[0-9]{1,15}(\.[0-9]{1,15})?")
_SIZE = re.compile(r"([0-9]{1,15})\s*([kmg]?)i?b?", re.IGNORECASE)
_FILE_MODE = re.compile(r"(?:0o)?([0-7]{3,4})")
_UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}
_CONTAINER = re.compile(r"(?=.{3,63}$)[a-z0-9]+(-[a-z0-9]+)*")
_HOST = re.compile(r"[^\s/@:\[\]()<>,;\"'\\\x00-\x1f\x7f]{1,253}")
_IDENTIFIER = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_SCHEDULE_FIELD = re.compile(r"[0-9A-Za-z*/,-]+")
_SCHEDULE_FIELDS = 6
_LAST_PORT = 65535
_VERSION = re.compile(r"/[A-Za-z0-9.]+/?")
_SHORTEST_KEY, _MOST_KEYS = 32, 2
_FIELD_NAME = re.compile(r"[!-9;-~]{1,76}")  # RFC 5322 section 3.6.8; a line is at most 78 characters
ANYWHERE = "!"
"""What DELIVERY_FIELDS has behind the name of a header that counts anywhere."""

NO_DELIVERY_FIELDS = frozenset(
    {"from", "sender", "reply-to", "to", "cc", "bcc", "message-id", "in-reply-to", "references", "return-path"}
    | {"subject", "date", "content-type", "mime-version", "dkim-signature"}
)
"""Headers that the sender writes, in lower case."""

_READ_ALREADY = frozenset({"received", "received-for"})
_WORDS_OF_RESULTS = frozenset({"wildcard", "fallback"})  # what `matched` says in a result
_TRUE = {"true", "1", "yes", "on"}
_FALSE = {"false", "0", "no", "off"}


class Removal(NamedTuple):
    """What AFTER says.

    Attributes:
        after: delete, trash, move or keep.
        move_to: the folder for move.
    """

    after: After
    move_to: str | None = None


def parse_choice(choices: type[Choice]) -> Callable[[str], Choice]:
    """A parser for one of several words."""

    def parse(text: str) -> Choice:
        word = text.lower()
        if word not in [choice.value for choice in choices]:
            # A value that is like none of them may be anything, a misplaced password included.
            near = closest_name(word, [choice.value for choice in choices])
            raise InvalidValue(f"is not known; use {_listed(choices)}", text if near else "the value")
        return choices(word)

    return parse


def _listed(choices: type[StrEnum]) -> str:
    *others, last = [choice.value for choice in choices]
    return f"{', '.join(others)} or {last}"


def parse_integer(least: int, most: int, what: str = "in range") -> Callable[[str], int]:
    """A parser for a whole number between two bounds, both included."""

    def parse(text: str) -> int:
        if not _NUMBER.fullmatch(text):
            raise InvalidValue(f"the value is no whole number; use {least} to {most}")
        if not least <= int(text) <= most:
            raise InvalidValue(f"is not {what}; use {least} to {most}", text)
        return int(text)

    return parse


parse_port = parse_integer(1, _LAST_PORT, "a port")


def parse_seconds(text: str) -> float:
    """Seconds, more than none, with or without decimals."""
    if not _DECIMAL.fullmatch(text) or float(text) <= 0:
        raise InvalidValue("the value is no number of seconds; use a number above 0, such as 300")
    return float(text)


def parse_boolean(text: str) -> bool:
    """True or false."""
    word = text.lower()
    if word not in _TRUE | _FALSE:
        raise InvalidValue("the value is neither true nor false; use true or false")
    return word in _TRUE


def parse_size(text: str) -> int:
    """Bytes, as a number or as in `150MB`; units are powers of 1024."""
    found = _SIZE.fullmatch(text)
    if not found or int(found[1]) == 0:
        raise InvalidValue(
            "the value is no size; use a number of bytes above 0, or one with KB, MB or GB, such as 150MB"
        )
    return int(found[1]) * _UNITS[found[2].lower()]


def parse_file_mode(text: str) -> int:
    """A file's mode in octal digits, as in `0640`."""
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


def parse_list(text: str) -> tuple[str, ...]:
    """A list: separated by `;`, blanks around entries and empty entries left out, each entry once."""
    return tuple(dict.fromkeys(entry.strip() for entry in text.split(";") if entry.strip()))


def split_list(parse: Callable[[str], str]) -> Callable[[str], tuple[str, ...]]:
    """A parser for a list of what `parse` takes."""
    return lambda text: tuple(dict.fromkeys(parse(entry) for entry in parse_list(text)))


def parse_folder(text: str) -> str:
    """A folder's path. INBOX is one in any case, other names are not (RFC 3501 section 5.1)."""
    if not text.isprintable():
        raise InvalidValue(
            "a folder's name has a character that cannot be printed; write the name as a mail program shows it"
        )
    return "INBOX" if text.upper() == "INBOX" else text


def parse_folders(text: str) -> tuple[str, ...]:
    """The folders to collect, each named once."""
    folders = [parse_folder(entry.strip()) for entry in text.split(";") if entry.strip()]
    twice = sorted({folder for folder in folders if folders.count(folder) > 1})
    if twice:
        raise InvalidValue("is named twice; name each folder once", ", ".join(twice))
    return tuple(folders) or ("INBOX",)


def parse_after(text: str) -> Removal:
    """Parse `delete`, `trash`, `keep`, or `move:FOLDER`."""
    word, _, folder = text.partition(":")
    word, folder = word.strip().lower(), folder.strip()
    if word == "move":
        if not folder:
            raise InvalidValue("move names no folder; write move:Archive")
        return Removal(After.MOVE, parse_folder(folder))
    if word == "delete-permanently" and not folder:
        raise InvalidValue("is no longer a value, since delete removes for good where the server can; use delete", word)
    if word not in ("delete", "trash", "keep") or folder:
        raise InvalidValue("the value is not known; use delete, trash, keep, or move: and a folder, as in move:Archive")
    return Removal(After(word))


def parse_delivery_fields(text: str) -> tuple[str, ...]:
    """Parse names of delivery headers; each is in lower case, and may end in `!`."""
    names: dict[str, str] = {}
    for entry in parse_list(text):
        name = entry.removesuffix(ANYWHERE).lower()
        if not _FIELD_NAME.fullmatch(name):
            raise InvalidValue(
                "is not a header's name; write the name alone, without colon and blanks, as in X-Alias", entry
            )
        if name in NO_DELIVERY_FIELDS:
            raise InvalidValue("is a header that the sender writes; name one that the receiving server adds", entry)
        if name in _READ_ALREADY:
            raise InvalidValue("is read without this setting; see TRUSTED_HOPS and RECEIVED_BY", entry)
        if name in _WORDS_OF_RESULTS:
            raise InvalidValue("has a meaning of its own in results; give the header another name", entry)
        if names.setdefault(name, entry.lower()) != entry.lower():
            raise InvalidValue(
                f"is named with {ANYWHERE} and without; keep one of the two", entry.removesuffix(ANYWHERE)
            )
    return tuple(names.values())


def parse_since(text: str) -> datetime | Literal["now"]:
    """`now`, or an ISO 8601 date or date-time, as UTC; without a zone it is taken as UTC."""
    if text.lower() == "now":
        return "now"
    moment = None
    try:
        moment = datetime.fromisoformat(text)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        moment = None
    if moment is None:
        raise InvalidValue("the value is no date; write 2026-11-23, 2026-11-23T08:00:00Z or now")
    return moment


def parse_host(text: str) -> str:
    """A DNS name or an IP address, alone."""
    bare = text.removeprefix("[").removesuffix("]")
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        pass
    if not _HOST.fullmatch(text):
        raise InvalidValue(
            "the value is no host name; write the name alone, as in imap.example.com, and the port in PORT"
        )
    return text.rstrip(".")


def is_loopback(host: str) -> bool:
    """Whether a host, as `parse_host` gives it, is this machine and never another."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def parse_identifier(text: str) -> str:
    """A tenant or client id: a GUID, or for a tenant one of its domains."""
    if not _IDENTIFIER.fullmatch(text):
        raise InvalidValue("the value is no id; copy it from the app registration's overview")
    return text


def parse_certificate(text: str) -> str:
    r"""PEM or base64. Where a line feed could not be entered, `\n` in a single line of PEM stands for one."""
    return text if "\n" in text.strip() else text.replace(r"\n", "\n")


def parse_schedule(text: str) -> str:
    """An NCRONTAB schedule: six fields, or the times between two runs would be minutes for seconds."""
    fields = text.split()
    if len(fields) != _SCHEDULE_FIELDS or not all(map(_SCHEDULE_FIELD.fullmatch, fields)):
        raise InvalidValue("the value is no schedule of six fields, seconds first; write it as in 0 * * * * *")
    return " ".join(fields)


def parse_container(text: str) -> str:
    """A container's name, as Blob Storage wants it."""
    if not _CONTAINER.fullmatch(text):
        raise InvalidValue(
            "the value is no container's name; use 3 to 63 lower-case letters, digits and single hyphens"
        )
    return text


def parse_authority(text: str) -> str:
    """The address of the token service: https, a host, perhaps a port, no path."""
    parts = _https(text)
    if parts is None or parts.path.strip("/") or parts.query or parts.fragment:
        raise InvalidValue(
            "the value is no host of a token service; write https and the host alone, TENANT_ID follows it"
        )
    return _origin(parts)


def parse_endpoint(text: str) -> str:
    """The address of Microsoft Graph: https, a host, perhaps a port, and the version as its path."""
    parts = _https(text)
    if parts is None or not _VERSION.fullmatch(parts.path) or parts.query or parts.fragment:
        raise InvalidValue(
            f"the value is no address of Microsoft Graph; write it with its version, as in {GLOBAL_GRAPH}"
        )
    return _origin(parts) + parts.path.rstrip("/")


def parse_webhook(text: str) -> str:
    """The address that Graph is to send notifications to: https, or http to this very machine, as tests have it."""
    # urlsplit leaves out line feeds and tabs without a word.
    parts = _https(text, loopback=True) if text.isprintable() and " " not in text else None
    if parts is None or not parts.path.strip("/") or parts.fragment:
        raise InvalidValue(
            "the value is no address that Graph could send notifications to; write the function's whole public "
            "address, as in https://APP.azurewebsites.net/api/graph_webhook"
        )
    return text


def parse_keys(text: str) -> str:
    """One key, or two separated by `;`."""
    keys = [key.strip() for key in text.split(";") if key.strip()]
    if not 1 <= len(keys) <= _MOST_KEYS or min(map(len, keys)) < _SHORTEST_KEY:
        raise InvalidValue(
            f"the value is no key, or pair of keys separated by ;, of {_SHORTEST_KEY} characters or more; make one "
            "with openssl rand -hex 32"
        )
    return ";".join(keys)


def _https(text: str, *, loopback: bool = False) -> SplitResult | None:
    """An address's parts; None if it is no https address with a host that may be one."""
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
