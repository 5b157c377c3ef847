"""What all parts of the stand-in share."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Sequence

from graph_simulator.access_tokens import Tokens
from graph_simulator.app_registrations import App
from graph_simulator.delta_tokens import DeltaLinks
from graph_simulator.fault_plan import FaultPlan
from graph_simulator.items import Change
from graph_simulator.mailbox_store import Store
from graph_simulator.notifier import Notifier
from graph_simulator.request_log import RecordedRequest, RecordedTokenRequest
from graph_simulator.subscriptions import Subscriptions


class State:
    """The state, behind one lock.

    Attributes:
        lock: held by whoever reads or changes anything here.
        trouble: what is to go wrong.
        tenant: the one tenant id.
        url: where the stand-in listens.
        cloud: `global`, or another word for a cloud that knows no permanentDelete.
        longest_subscription: minutes.
        subscriptions_per_mailbox: of all apps together.
        subscription_page: how many subscriptions a page of their list holds.
        token_lifetime: seconds that new tokens are good for; negative ones have expired.
        most_at_once: requests that one app may have under way in one mailbox.
        most_seen_at_once: the most that one app had, refused ones included.
        requests: everything that Graph was asked.
        token_requests: everything that the token service was asked.
        notifier: sends what subscribers are told.
    """

    def __init__(self, trouble: FaultPlan, accepted_keys: Sequence[bytes]) -> None:
        self.lock = threading.RLock()
        self.trouble = trouble
        self.tenant = "6b3f5d0e-7a52-4c1d-9f3e-2f0a8d9c4b17"
        self.url = ""
        self.cloud = "global"
        self.longest_subscription = 4_230
        self.subscriptions_per_mailbox = 1_000
        self.subscription_page = 100
        self.token_lifetime = 3_599.0
        self.most_at_once = 4
        self.most_seen_at_once = 0
        self.requests: list[RecordedRequest] = []
        self.token_requests: list[RecordedTokenRequest] = []
        self.apps: dict[str, App] = {}
        self.tokens = Tokens(self.tenant, accepted_keys)
        self.stores: dict[str, Store] = {}
        self.subscribed = Subscriptions()
        self.links = DeltaLinks()
        self.notifier = Notifier(self.lock, trouble)

    def store_of(self, user: str) -> Store | None:
        """The mailbox with that address or GUID."""
        with self.lock:
            found = self.stores.get(user.lower())
            return found or next((each for each in self.stores.values() if each.id == user.lower()), None)

    def announce(self, store: Store, change: Change) -> None:
        """Tell those who subscribed to that folder and that kind of change."""
        for subscription in self.subscribed.live():
            if subscription.covers(store, change):
                self.notifier.notify(subscription, change, self.tenant)

    def token(self, app: App, audience: str | None = None, lifetime: float | None = None) -> str:
        """A token as the token service would give it; for Graph itself, if no other audience is given."""
        with self.lock:
            seconds = self.token_lifetime if lifetime is None else lifetime
            return self.tokens.issue(app, self.url if audience is None else audience, seconds)

    def new_secret(self) -> str:
        """A client secret with characters that forms must encode."""
        return f"s3c+ret~{secrets.token_urlsafe(24)}&="
