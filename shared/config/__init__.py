"""App settings → validated, frozen objects. The only reader of the environment."""

from shared.config.loader import load_settings
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
from shared.config.route_set import RouteSet, load_routes
from shared.config.routes_file import ROUTES_PATH

__all__ = [
    "ROUTES_PATH",
    "After",
    "AppSettings",
    "MailProtocol",
    "MailboxSettings",
    "PlusAddressing",
    "RouteSet",
    "RouteSettings",
    "SignIn",
    "Tls",
    "load_routes",
    "load_settings",
]
