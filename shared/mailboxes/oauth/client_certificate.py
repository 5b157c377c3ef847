"""Sign in with the certificate of an app registration. `shared.config.certificates` loads it."""

from __future__ import annotations

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from shared.config import MailboxSettings
from shared.config.certificates import load_certificate
from shared.errors import AuthenticationError, ConfigurationError, InvalidValue
from shared.mailboxes.tls import setting_name


def certificate_credential(settings: MailboxSettings) -> dict[str, str]:
    """Return the mailbox's certificate in MSAL's form. It is loaded each time: a file may have been renewed.

    MSAL signs with PS256 and identifies the certificate by its SHA-256 thumbprint.

    Raises:
        ConfigurationError: the certificate is missing, or breaks a rule that the configuration checks too.
        AuthenticationError: the certificate has expired, or is not valid yet.
    """
    source = settings.certificate or settings.certificate_file
    name = setting_name(settings, "CERTIFICATE" if settings.certificate else "CERTIFICATE_FILE")
    if source is None:
        raise ConfigurationError(f"{setting_name(settings, 'CERTIFICATE')} or {name} is needed for {settings.sign_in}")
    try:
        loaded = load_certificate(source, settings.certificate_password)
    except InvalidValue as invalid:
        raise ConfigurationError(f"{name}: {invalid.detail}") from None
    try:
        loaded.check_dates()
    except InvalidValue as invalid:
        raise AuthenticationError(f"{name}: {invalid.detail}") from None
    return {
        "private_key": loaded.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode("ascii"),
        "public_certificate": loaded.certificate.public_bytes(Encoding.PEM).decode("ascii"),
    }
