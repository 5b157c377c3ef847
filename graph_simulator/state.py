"""The state that all parts of the simulator share."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Sequence

from graph_simulator.access_tokens import AccessTokens
from graph_simulator.app_registrations import App
from graph_simulator.delta_tokens import DeltaLinks
from graph_simulator.fault_plan import FaultPlan
from graph_simulator.items import Change
from graph_simulator.mailbox_store import MailboxStore
from graph_simulator.notifier import Notifier
from graph_simulator.request_log import RecordedRequest, RecordedTokenRequest
from graph_simulator.subscriptions import SubscriptionRegistry


class State:
    """The simulator's state, protected by one lock.

    Attributes:
        lock: held while any of the state is read or changed.
        fault_plan: the faults to inject.
        tenant: the only tenant's id.
        url: the simulator's base URL.
        cloud: `global`, or any other text for a cloud without permanentDelete.
        max_subscription_minutes: maximum lifetime of a subscription.
        subscriptions_per_mailbox: maximum number of subscriptions per mailbox, of all apps together.
        subscription_page_size: subscriptions in a page of their list.
        token_lifetime: lifetime of new tokens in seconds; a negative lifetime gives expired tokens.
        max_concurrency: concurrent requests that an app may send to one mailbox.
        peak_concurrency: the most concurrent requests that an app sent to one mailbox, including refused ones.
        requests: the requests to Graph.
        token_requests: the requests to the token service.
        apps: app registrations by client id.
        tokens: the issuer of access tokens.
        stores: mailboxes' contents by address in lower case.
        subscription_registry: the subscriptions.
        delta_links: the delta links.
        notifier: sends notifications.
    """

    def __init__(self, fault_plan: FaultPlan, accepted_keys: Sequence[bytes]) -> None:
        self.lock = threading.RLock()
        self.fault_plan = fault_plan
        self.tenant = "6b3f5d0e-7a52-4c1d-9f3e-2f0a8d9c4b17"
        self.url = ""
        self.cloud = "global"
        self.max_subscription_minutes = 10_080
        self.subscriptions_per_mailbox = 1_000
        self.subscription_page_size = 100
        self.token_lifetime = 3_599.0
        self.max_concurrency = 4
        self.peak_concurrency = 0
        self.requests: list[RecordedRequest] = []
        self.token_requests: list[RecordedTokenRequest] = []
        self.apps: dict[str, App] = {}
        self.tokens = AccessTokens(self.tenant, accepted_keys)
        self.stores: dict[str, MailboxStore] = {}
        self.subscription_registry = SubscriptionRegistry()
        self.delta_links = DeltaLinks()
        self.notifier = Notifier(self.lock, fault_plan)

    def find_store(self, user: str) -> MailboxStore | None:
        """Return the mailbox with an address or GUID."""
        with self.lock:
            store = self.stores.get(user.lower())
            return store or next((store for store in self.stores.values() if store.id == user.lower()), None)

    def notify_subscribers(self, store: MailboxStore, change: Change) -> None:
        """Notify the subscribers to a folder and kind of change."""
        for subscription in self.subscription_registry.live():
            if subscription.covers(store, change):
                self.notifier.notify(subscription, change, self.tenant)

    def token(self, app: App, audience: str | None = None, lifetime: float | None = None) -> str:
        """Return a token as the token service issues it; for Graph unless another audience is given."""
        with self.lock:
            seconds = self.token_lifetime if lifetime is None else lifetime
            return self.tokens.issue(app, self.url if audience is None else audience, seconds)

    def new_secret(self) -> str:
        """Return a client secret with characters that forms must encode."""
        return f"s3c+ret~{secrets.token_urlsafe(24)}&="
