"""Which sign-in a mailbox's settings mean, what it lacks, and what contradicts it (rules 1.4, 1.5)."""

from __future__ import annotations

import re

from pydantic import SecretStr

from shared.addresses import parse_address
from shared.config.certificates import certificate_error, certificate_file_error
from shared.config.model import SignIn
from shared.config.schema import WrittenMailbox
from shared.config.section import Section
from shared.errors import InvalidValue

_BELONGS = {
    SignIn.PASSWORD: ("PASSWORD", "USERNAME"),
    SignIn.CLIENT_SECRET: ("CLIENT_SECRET", "TENANT_ID", "CLIENT_ID"),
    SignIn.CERTIFICATE: ("CERTIFICATE", "CERTIFICATE_FILE", "CERTIFICATE_PASSWORD", "TENANT_ID", "CLIENT_ID"),
    SignIn.MANAGED_IDENTITY: ("CLIENT_ID",),
}
_ALL = tuple(dict.fromkeys(setting for settings in _BELONGS.values() for setting in settings))
_TELLING = {
    "PASSWORD": SignIn.PASSWORD,
    "CLIENT_SECRET": SignIn.CLIENT_SECRET,
    "CERTIFICATE": SignIn.CERTIFICATE,
    "CERTIFICATE_FILE": SignIn.CERTIFICATE,
}
_OAUTH = "set TENANT_ID, CLIENT_ID and CLIENT_SECRET or CERTIFICATE, or SIGN_IN=managed-identity"
_WHERE = {
    "TENANT_ID": "give the id of the tenant",
    "CLIENT_ID": "give the client id of the app registration",
    "CLIENT_SECRET": "give the secret of the app registration",
    "PASSWORD": "give the password, or an app password",
}


def sign_in_from_section(
    part: Section[WrittenMailbox], *, graph: bool = False, certificates: bool = True
) -> SignIn | None:
    """The mailbox's sign-in; None if it cannot be told. Faults go to the part.

    Args:
        part: what is written of the mailbox.
        graph: it is collected through Microsoft Graph, which takes no password.
        certificates: whether they are opened.
    """
    sign_in = _told(part, graph=graph)
    if graph and sign_in is SignIn.PASSWORD:
        wrong = "PASSWORD" if part.given("PASSWORD") else "SIGN_IN"
        part.fault(wrong, f"is of no use with graph, which takes no password; {_OAUTH}")
        return None
    if sign_in is not None:
        _check_credentials(part, sign_in, certificates=certificates)
    _check_shared(part, sign_in)
    return sign_in


def _told(part: Section[WrittenMailbox], *, graph: bool) -> SignIn | None:
    if part.given("SIGN_IN"):
        return part.written.sign_in
    telling = [setting for setting in _TELLING if part.given(setting)]
    kinds = {_TELLING[setting] for setting in telling}
    if len(kinds) > 1:
        part.fault("SIGN_IN", f"cannot be told, since {' and '.join(telling)} are set; remove all but one")
        return None
    if kinds:
        return kinds.pop()
    if part.given("TENANT_ID") or part.given("CLIENT_ID"):
        part.fault(
            "SIGN_IN",
            "cannot be told; set CLIENT_SECRET, or CERTIFICATE, or CERTIFICATE_FILE, or SIGN_IN=managed-identity",
        )
    elif graph:
        part.missing("CLIENT_SECRET", _OAUTH)
    else:
        part.missing("PASSWORD", "set it, or TENANT_ID, CLIENT_ID and CLIENT_SECRET or CERTIFICATE")
    return None


def _check_credentials(part: Section[WrittenMailbox], sign_in: SignIn, *, certificates: bool) -> None:
    for setting in _ALL:
        if setting not in _BELONGS[sign_in] and part.given(setting):
            part.fault(setting, f"is not used when signing in with a {_words(sign_in)}; remove it, or correct SIGN_IN")
    if sign_in is SignIn.CERTIFICATE:
        _check_certificate(part, opens=certificates)
        needed = ["TENANT_ID", "CLIENT_ID"]
    elif sign_in is SignIn.MANAGED_IDENTITY:
        needed = []  # CLIENT_ID names a user-assigned one
    else:
        needed = [s for s in _BELONGS[sign_in] if s != "USERNAME"]
    for setting in needed:
        if not part.given(setting):
            part.missing(setting, _WHERE[setting])


def _words(sign_in: SignIn) -> str:
    return sign_in.value.replace("-", " ")


def _check_certificate(part: Section[WrittenMailbox], *, opens: bool) -> None:
    written = part.written
    password = _plain(written.certificate_password)
    if part.given("CERTIFICATE") and part.given("CERTIFICATE_FILE"):
        part.fault("CERTIFICATE_FILE", "is set, and CERTIFICATE too; remove one of the two")
    elif not part.given("CERTIFICATE") and not part.given("CERTIFICATE_FILE"):
        part.missing("CERTIFICATE", "give PEM text or PFX in base64, or set CERTIFICATE_FILE")
    if not opens:
        return
    text = _plain(written.certificate)
    if part.report.has(("mailboxes", part.name, "certificate_password")):
        return  # without it nothing can be said of the certificate
    if text is not None and (trouble := certificate_error(text, password)):
        part.fault("CERTIFICATE", trouble)
    path = written.certificate_file
    if path is not None and (trouble := certificate_file_error(path, password)):
        part.fault("CERTIFICATE_FILE", trouble)


def _plain(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret is not None else None


def _check_shared(part: Section[WrittenMailbox], sign_in: SignIn | None) -> None:
    shared, template = part.written.shared_mailbox, part.written.shared_login
    oauth = sign_in in (SignIn.CLIENT_SECRET, SignIn.CERTIFICATE, SignIn.MANAGED_IDENTITY)
    if part.given("SHARED_LOGIN") and not part.given("SHARED_MAILBOX"):
        part.fault("SHARED_LOGIN", "is not used without SHARED_MAILBOX; set that, or remove it")
    if part.given("SHARED_LOGIN") and oauth:
        part.fault("SHARED_LOGIN", "is not used with OAuth, which opens the shared mailbox by its address; remove it")
    if template is not None:
        unknown = set(re.findall(r"\{[^{}]*\}", template)) - {"{username}", "{shared}"}
        if unknown or "{shared}" not in template:
            part.fault(
                "SHARED_LOGIN", "is no template; write it with {username} and {shared}, as in {shared}*{username}"
            )
    if shared is not None and oauth:
        try:
            parse_address(shared)
        except InvalidValue as wrong:
            part.fault("SHARED_MAILBOX", f"{wrong.detail}; OAuth needs the shared mailbox's address", wrong.value)
