"""App settings → validated, frozen objects. The only reader of the environment."""

from shared.config.loader import read_settings
from shared.config.model import (
    After,
    AppSettings,
    MailboxSettings,
    MailProtocol,
    PlusAddressing,
    RouteSettings,
    SignIn,
    Tls,
)
from shared.config.route_set import AllRoutes, all_routes
from shared.config.routes_file import ROUTES_PATH

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
