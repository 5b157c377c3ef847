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
from shared.settings.routes_file import ROUTES_PATH
from shared.settings.together import AllRoutes, all_routes

__all__ = [
    "ROUTES_PATH",
    "After",
    "AllRoutes",
    "AppSettings",
    "MailProtocol",
    "MailboxSettings",
    "PlusAddressing",
    "RouteSettings",
    "SignIn",
    "Tls",
    "all_routes",
    "read_settings",
]
