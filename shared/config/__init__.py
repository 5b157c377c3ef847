"""The app settings as validated, frozen objects. No other package reads the environment."""

from shared.config.loader import load_settings
from shared.config.model import AppSettings, MailboxSettings
from shared.config.presets import After, MailProtocol, PlusAddressing, SignIn, Tls
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
    "SignIn",
    "Tls",
    "load_routes",
    "load_settings",
]
