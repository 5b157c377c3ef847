"""A stand-in for Microsoft Graph: mail folders, messages, delta, subscriptions, and a token service, over HTTPS.

It is strict where Graph is strict, and it makes on demand the trouble that Graph makes now and then.
"""

from graph_simulator.app_registrations import App
from graph_simulator.fault_plan import FaultPlan
from graph_simulator.mailbox import Mailbox
from graph_simulator.request_log import RecordedRequest, RecordedTokenRequest
from graph_simulator.simulator import GraphSimulator
from graph_simulator.subscriptions import Subscription

__all__ = ["App", "FaultPlan", "GraphSimulator", "Mailbox", "RecordedRequest", "RecordedTokenRequest", "Subscription"]
