"""App settings → validated, frozen objects. The only reader of the environment."""

from shared.settings.model import (
    After,
    AppSettings,
    MailboxSettings,
    MailProtocol,
    PlusAddressing,
    RouteSettings,
    SignIn,
    Tls,
)
from shared.settings.reading import read_settings

__all__ = [
    "After",
    "AppSettings",
    "MailProtocol",
    "MailboxSettings",
    "PlusAddressing",
    "RouteSettings",
    "SignIn",
    "Tls",
    "read_settings",
]
