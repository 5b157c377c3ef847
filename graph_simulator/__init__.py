"""A simulator of Microsoft Graph's mail API: folders, messages, delta queries, subscriptions and tokens, over HTTPS.

It refuses what Graph refuses, and causes on demand the failures that Graph causes now and then. README.md shows how to
run it alone and how to use it in tests.
"""

from graph_simulator.app_registrations import App
from graph_simulator.certificates import Certificate, create_certificate
from graph_simulator.fault_plan import FaultPlan
from graph_simulator.mailbox import Mailbox
from graph_simulator.request_log import RecordedRequest, RecordedTokenRequest
from graph_simulator.simulator import GraphSimulator
from graph_simulator.subscriptions import Subscription

__all__ = [
    "App",
    "Certificate",
    "FaultPlan",
    "GraphSimulator",
    "Mailbox",
    "RecordedRequest",
    "RecordedTokenRequest",
    "Subscription",
    "create_certificate",
]
