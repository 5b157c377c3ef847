"""Check the settings of one mailbox against each other: its server, its folders and its sign-in (rules 1.1 to 1.6)."""

from __future__ import annotations

import re
import ssl
from itertools import chain
from pathlib import Path
from urllib.parse import urlsplit

from shared.addresses import normalise
from shared.config.model import POLL_INTERVAL, SUBSCRIBED_POLL_INTERVAL, MailboxSettings
from shared.config.parsers import is_loopback, parse_move_target
from shared.config.presets import DEFAULT_PORTS, PRESETS, After, MailProtocol, SignIn, Tls
from shared.config.section import Section
from shared.errors import InvalidValue

DELETED_ITEMS = frozenset({"deleteditems", "deleted items"})
"""Names in FOLDERS of Graph's well-known folder `deleteditems`, in lower case (Graph: mailFolder resource type)."""

_NOT_WITH_GRAPH = {
    "HOST": "set GRAPH_ENDPOINT for another cloud, or remove it",
    "PORT": "put it into GRAPH_ENDPOINT, or remove it",
    "TLS": "Graph is HTTPS alone, remove it",
    "ALLOW_PLAINTEXT": "Graph is HTTPS alone, remove it",
}

_APP = {"TENANT_ID": "give the id of the tenant", "CLIENT_ID": "give the client id of the app registration"}
_CREDENTIALS: dict[SignIn, dict[str, str | None]] = {
    SignIn.PASSWORD: {"PASSWORD": "give the password, or an app password", "USERNAME": None},
    SignIn.CLIENT_SECRET: {"CLIENT_SECRET": "give the secret of the app registration", **_APP},
    SignIn.CERTIFICATE: {"CERTIFICATE": None, "CERTIFICATE_FILE": None, "CERTIFICATE_PASSWORD": None, **_APP},
    SignIn.MANAGED_IDENTITY: {"CLIENT_ID": None},  # of a user-assigned identity
}
"""The credentials that a sign-in may use, and how to fix that a required one is missing. All others are refused."""

_DETERMINES = {
    "PASSWORD": SignIn.PASSWORD,
    "CLIENT_SECRET": SignIn.CLIENT_SECRET,
    "CERTIFICATE": SignIn.CERTIFICATE,
    "CERTIFICATE_FILE": SignIn.CERTIFICATE,
}
"""The credentials that determine the sign-in where SIGN_IN is not set."""

_OAUTH = "set TENANT_ID, CLIENT_ID and CLIENT_SECRET or CERTIFICATE, or SIGN_IN=managed-identity"


def build_mailbox(section: Section, graph_endpoint: str, *, certificates: bool = True) -> MailboxSettings | None:
    """Read a mailbox's settings, check them against each other, and build the mailbox.

    Args:
        section: the mailbox's settings.
        graph_endpoint: the URL of Microsoft Graph.
        certificates: open the certificates to check them.

    Returns:
        The mailbox; None if a required setting is missing or invalid. It is usable only if no error was reported.
    """
    values = section.read()
    _complete_server(section, graph_endpoint)
    _complete_sign_in(section)
    section.require("ADDRESS", "give the mailbox's primary address")
    if values.get("after") is After.MOVE:
        values["move_to"] = parse_move_target(section.texts["after"])
    interval = values.get("poll_every")
    values["poll_every"] = interval or POLL_INTERVAL
    values["poll_every_subscribed"] = interval or SUBSCRIBED_POLL_INTERVAL
    _check_server(section)
    _check_folders(section)
    _check_shared_mailbox(section)
    _check_files(section, certificates=certificates)
    required = {"protocol", "host", "port", "address", "sign_in"}
    return MailboxSettings(name=section.name, **values) if required <= values.keys() else None


def _complete_server(section: Section, graph_endpoint: str) -> None:
    """Fill in protocol, host, port and TLS from the preset and the defaults."""
    values = section.values
    if "preset" in values:
        preset = PRESETS[values["preset"]]
        defaults = {"protocol": preset.protocol, "host": preset.host, "tls": preset.tls}
        values.update({field: value for field, value in defaults.items() if value and field not in values})
    protocol, tls = values.get("protocol"), values.setdefault("tls", Tls.IMPLICIT)
    if protocol is MailProtocol.GRAPH:
        url, tls = urlsplit(graph_endpoint), Tls.IMPLICIT
        values.update(host=url.hostname, tls=tls, port=url.port or DEFAULT_PORTS[protocol, tls])
    elif protocol is not None:
        values.setdefault("port", DEFAULT_PORTS[protocol, tls])
    # An invalid preset might fill both in: its own error is enough.
    if not section.is_set("PRESET"):
        section.require("PROTOCOL", "use imap, pop3 or graph, or set PRESET")
        section.require("HOST", "give the mail server's name, or set PRESET")


def _complete_sign_in(section: Section) -> None:
    """Fill in how to sign in, and check which credentials are set."""
    sign_in = _determine_sign_in(section)
    if sign_in is None:
        return
    section.values["sign_in"] = sign_in
    method = sign_in.replace("-", " ")
    for setting in dict.fromkeys(chain(*_CREDENTIALS.values())):
        if setting not in _CREDENTIALS[sign_in] and section.is_set(setting):
            section.error(setting, f"is not used when signing in with a {method}; remove it, or correct SIGN_IN")
    for setting, fix in _CREDENTIALS[sign_in].items():
        if fix is not None:
            section.require(setting, fix)
    if sign_in is SignIn.CERTIFICATE and section.is_set("CERTIFICATE_FILE"):
        if section.is_set("CERTIFICATE"):
            section.error("CERTIFICATE_FILE", "is set, and CERTIFICATE too; remove one of the two")
    elif sign_in is SignIn.CERTIFICATE:
        section.require("CERTIFICATE", "give PEM text or PFX in base64, or set CERTIFICATE_FILE")


def _determine_sign_in(section: Section) -> SignIn | None:
    """Return how to sign in; None if an error was reported."""
    graph = section.values.get("protocol") is MailProtocol.GRAPH
    credentials = [setting for setting in _DETERMINES if section.is_set(setting)]
    methods = {_DETERMINES[setting] for setting in credentials}
    if section.is_set("SIGN_IN"):
        methods = {section.values["sign_in"]} if "sign_in" in section.values else set()
    elif len(methods) > 1:
        section.error("SIGN_IN", f"cannot be determined, since {' and '.join(credentials)} are set; remove all but one")
    elif not methods and (section.is_set("TENANT_ID") or section.is_set("CLIENT_ID")):
        detail = "set CLIENT_SECRET, or CERTIFICATE, or CERTIFICATE_FILE, or SIGN_IN=managed-identity"
        section.error("SIGN_IN", f"cannot be determined; {detail}")
    elif not methods and graph:
        section.require("CLIENT_SECRET", _OAUTH)
    elif not methods:
        section.require("PASSWORD", "set it, or TENANT_ID, CLIENT_ID and CLIENT_SECRET or CERTIFICATE")
    if graph and methods == {SignIn.PASSWORD}:
        setting = "PASSWORD" if section.is_set("PASSWORD") else "SIGN_IN"
        section.error(setting, f"cannot be used with graph, which accepts no password; {_OAUTH}")
    elif len(methods) == 1:
        return methods.pop()
    return None


def _check_server(section: Section) -> None:
    values = section.values
    protocol = values.get("protocol")
    if "preset" in values and protocol is not (expected := PRESETS[values["preset"]].protocol):
        section.error("PROTOCOL", f"contradicts PRESET, which is for {expected}; remove one of the two")
    for setting, fix in _NOT_WITH_GRAPH.items():
        if protocol is MailProtocol.GRAPH and section.is_set(setting):
            section.error(setting, f"is not used with graph; {fix}")
    allowed = values["tls"] is not Tls.NONE or values.get("allow_plaintext")
    if not allowed and not is_loopback(values.get("host", "localhost")):
        fix = "use implicit or starttls, or set ALLOW_PLAINTEXT=true"
        section.error("TLS", f"none sends password and mail in the clear to a host that is not this machine; {fix}")


def _check_folders(section: Section) -> None:
    protocol, after = section.values.get("protocol"), section.values.get("after")
    folders, target = section.values.get("folders", ("INBOX",)), section.values.get("move_to")

    def comparable(folder: str) -> str:
        """Return a folder's path as its server compares it: Exchange ignores case, IMAP servers differ."""
        parts = [part.strip() for part in folder.split("/") if part.strip()]
        return "/".join(parts).casefold() if protocol is MailProtocol.GRAPH else folder

    polled = {comparable(folder) for folder in folders}
    if protocol is MailProtocol.POP3:
        if folders != ("INBOX",):
            section.error("FOLDERS", "POP3 has INBOX alone; remove the setting, or use imap")
        if after is After.MOVE:
            section.error("AFTER", "POP3 has no folders to move to; use delete or keep")
        if after is After.TRASH:
            section.error("AFTER", "trash needs a folder for deleted items, and POP3 has none; use delete or keep")
    elif target is not None and comparable(target) in polled:
        detail = "is a folder that is polled, so that mail would arrive again; move it to another"
        section.error("AFTER", detail, target)
    elif after is After.TRASH and protocol is MailProtocol.GRAPH and not polled.isdisjoint(DELETED_ITEMS):
        detail = "trash moves mail to the deleted items, which FOLDERS polls; use delete, or move:FOLDER"
        section.error("AFTER", detail)


def _check_shared_mailbox(section: Section) -> None:
    """Check the settings of a shared mailbox, which OAuth opens by its address, and a password by a login."""
    oauth = section.values.get("sign_in", SignIn.PASSWORD) is not SignIn.PASSWORD
    shared, template = section.values.get("shared_mailbox"), section.values.get("shared_login", "{shared}")
    if section.is_set("SHARED_LOGIN") and not section.is_set("SHARED_MAILBOX"):
        section.error("SHARED_LOGIN", "is not used without SHARED_MAILBOX; set that, or remove it")
    if section.is_set("SHARED_LOGIN") and oauth:
        detail = "is not used with OAuth, which opens the shared mailbox by its address; remove it"
        section.error("SHARED_LOGIN", detail)
    if set(re.findall(r"\{[^{}]*\}", template)) - {"{username}"} != {"{shared}"}:
        detail = "is not a template; write it with {username} and {shared}, as in {shared}*{username}"
        section.error("SHARED_LOGIN", detail)
    if shared is not None and oauth and normalise(shared) is None:
        section.error("SHARED_MAILBOX", "is not an address; OAuth needs the shared mailbox's address", shared)


def _check_files(section: Section, *, certificates: bool) -> None:
    """Check that the certificates can be used. With an invalid password, nothing is known about the sign-in's."""
    values = section.values
    if "ca_file" in values:
        with section.reporting("CA_FILE"):
            _check_ca_file(values["ca_file"])
    if values.get("sign_in") is not SignIn.CERTIFICATE or section.is_invalid("CERTIFICATE_PASSWORD"):
        return
    for field in ("certificate", "certificate_file"):
        if certificates and field in values:
            # Slow to import: a worker that starts for a notification loads no certificate.
            from shared.config.certificates import load_certificate  # noqa: PLC0415

            with section.reporting(field.upper()):
                load_certificate(values[field], values.get("certificate_password")).check_dates()


def _check_ca_file(path: Path) -> None:
    """Check a file of certificates to trust.

    Raises:
        InvalidValue: the file cannot be read, or has no certificate.
    """
    if not path.is_file():
        raise InvalidValue("names a file that does not exist; give the path of a PEM file")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)
    except ssl.SSLError:
        detail = "names a file without a certificate in PEM; convert it with openssl x509 -outform PEM"
        raise InvalidValue(detail) from None
    except OSError:
        raise InvalidValue("names a file that cannot be read; allow the app to read it") from None
