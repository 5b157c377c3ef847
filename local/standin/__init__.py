"""A stand-in for Microsoft Graph: mail folders, messages, delta, subscriptions, and a token service, over HTTPS.

It is strict where Graph is strict, and it makes on demand the trouble that Graph makes now and then.
"""

from local.standin.apps import App
from local.standin.mailbox import Mailbox
from local.standin.records import Request, TokenRequest
from local.standin.standin import GraphStandIn
from local.standin.subscriptions import Subscription
from local.standin.trouble import Trouble

__all__ = ["App", "GraphStandIn", "Mailbox", "Request", "Subscription", "TokenRequest", "Trouble"]
