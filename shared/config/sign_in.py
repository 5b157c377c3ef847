"""Determine how to sign in to a mailbox, and check its credentials (rules 1.4, 1.5)."""

from __future__ import annotations

import re

from pydantic import SecretStr

from shared.addresses import parse_address
from shared.config.certificates import certificate_error, certificate_file_error
from shared.config.choices import SignIn
from shared.config.section import Section
from shared.errors import InvalidValue

_CREDENTIALS = {
    SignIn.PASSWORD: ("PASSWORD", "USERNAME"),
    SignIn.CLIENT_SECRET: ("CLIENT_SECRET", "TENANT_ID", "CLIENT_ID"),
    SignIn.CERTIFICATE: ("CERTIFICATE", "CERTIFICATE_FILE", "CERTIFICATE_PASSWORD", "TENANT_ID", "CLIENT_ID"),
    SignIn.MANAGED_IDENTITY: ("CLIENT_ID",),
}
_ALL = tuple(dict.fromkeys(setting for settings in _CREDENTIALS.values() for setting in settings))
_DISTINCTIVE = {
    "PASSWORD": SignIn.PASSWORD,
    "CLIENT_SECRET": SignIn.CLIENT_SECRET,
    "CERTIFICATE": SignIn.CERTIFICATE,
    "CERTIFICATE_FILE": SignIn.CERTIFICATE,
}
_OAUTH = "set TENANT_ID, CLIENT_ID and CLIENT_SECRET or CERTIFICATE, or SIGN_IN=managed-identity"
_FIXES = {
    "TENANT_ID": "give the id of the tenant",
    "CLIENT_ID": "give the client id of the app registration",
    "CLIENT_SECRET": "give the secret of the app registration",
    "PASSWORD": "give the password, or an app password",
}


def check_sign_in(section: Section, *, graph: bool = False, certificates: bool = True) -> SignIn | None:
    """Return how to sign in to a mailbox, and report errors of its credentials.

    Args:
        section: the mailbox's settings.
        graph: mail is retrieved through Microsoft Graph, which accepts no password.
        certificates: open the certificates to check them.

    Returns:
        None if it cannot be determined.
    """
    sign_in = _determine(section, graph=graph)
    if graph and sign_in is SignIn.PASSWORD:
        setting = "PASSWORD" if section.is_set("PASSWORD") else "SIGN_IN"
        section.error(setting, f"cannot be used with graph, which accepts no password; {_OAUTH}")
        return None
    if sign_in is not None:
        _check_credentials(section, sign_in, certificates=certificates)
    _check_shared_mailbox(section, sign_in)
    return sign_in


def _determine(section: Section, *, graph: bool) -> SignIn | None:
    if section.is_set("SIGN_IN"):
        return section.values.get("sign_in")
    distinctive = [setting for setting in _DISTINCTIVE if section.is_set(setting)]
    kinds = {_DISTINCTIVE[setting] for setting in distinctive}
    if len(kinds) > 1:
        section.error("SIGN_IN", f"cannot be determined, since {' and '.join(distinctive)} are set; remove all but one")
        return None
    if kinds:
        return kinds.pop()
    if section.is_set("TENANT_ID") or section.is_set("CLIENT_ID"):
        section.error(
            "SIGN_IN",
            "cannot be determined; set CLIENT_SECRET, or CERTIFICATE, or CERTIFICATE_FILE, or SIGN_IN=managed-identity",
        )
    elif graph:
        section.missing("CLIENT_SECRET", _OAUTH)
    else:
        section.missing("PASSWORD", "set it, or TENANT_ID, CLIENT_ID and CLIENT_SECRET or CERTIFICATE")
    return None


def _check_credentials(section: Section, sign_in: SignIn, *, certificates: bool) -> None:
    for setting in _ALL:
        if setting not in _CREDENTIALS[sign_in] and section.is_set(setting):
            words = sign_in.value.replace("-", " ")
            section.error(setting, f"is not used when signing in with a {words}; remove it, or correct SIGN_IN")
    if sign_in is SignIn.CERTIFICATE:
        _check_certificate(section, certificates=certificates)
        required = ["TENANT_ID", "CLIENT_ID"]
    elif sign_in is SignIn.MANAGED_IDENTITY:
        required = []  # CLIENT_ID names a user-assigned identity
    else:
        required = [setting for setting in _CREDENTIALS[sign_in] if setting != "USERNAME"]
    for setting in required:
        if not section.is_set(setting):
            section.missing(setting, _FIXES[setting])


def _check_certificate(section: Section, *, certificates: bool) -> None:
    if section.is_set("CERTIFICATE") and section.is_set("CERTIFICATE_FILE"):
        section.error("CERTIFICATE_FILE", "is set, and CERTIFICATE too; remove one of the two")
    elif not section.is_set("CERTIFICATE") and not section.is_set("CERTIFICATE_FILE"):
        section.missing("CERTIFICATE", "give PEM text or PFX in base64, or set CERTIFICATE_FILE")
    # With an invalid password, nothing is known about the certificate.
    if not certificates or section.report.has(section.place("CERTIFICATE_PASSWORD")):
        return
    password, text = _secret(section, "certificate_password"), _secret(section, "certificate")
    if text is not None and (detail := certificate_error(text, password)):
        section.error("CERTIFICATE", detail)
    path = section.values.get("certificate_file")
    if path is not None and (detail := certificate_file_error(path, password)):
        section.error("CERTIFICATE_FILE", detail)


def _secret(section: Section, field: str) -> str | None:
    secret: SecretStr | None = section.values.get(field)
    return secret.get_secret_value() if secret is not None else None


def _check_shared_mailbox(section: Section, sign_in: SignIn | None) -> None:
    shared, template = section.values.get("shared_mailbox"), section.values.get("shared_login")
    oauth = sign_in in (SignIn.CLIENT_SECRET, SignIn.CERTIFICATE, SignIn.MANAGED_IDENTITY)
    if section.is_set("SHARED_LOGIN") and not section.is_set("SHARED_MAILBOX"):
        section.error("SHARED_LOGIN", "is not used without SHARED_MAILBOX; set that, or remove it")
    if section.is_set("SHARED_LOGIN") and oauth:
        section.error(
            "SHARED_LOGIN", "is not used with OAuth, which opens the shared mailbox by its address; remove it"
        )
    if template is not None:
        unknown = set(re.findall(r"\{[^{}]*\}", template)) - {"{username}", "{shared}"}
        if unknown or "{shared}" not in template:
            section.error(
                "SHARED_LOGIN", "is not a template; write it with {username} and {shared}, as in {shared}*{username}"
            )
    if shared is not None and oauth:
        try:
            parse_address(shared)
        except InvalidValue as invalid:
            detail = f"{invalid.detail}; OAuth needs the shared mailbox's address"
            section.error("SHARED_MAILBOX", detail, invalid.value)
