"""The running simulator, with the controls that tests use."""

from __future__ import annotations

import asyncio
import ssl
import threading
import uuid
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Self

from aiohttp import web

from graph_simulator.app_registrations import WRITE, App
from graph_simulator.fault_plan import FaultPlan
from graph_simulator.mailbox import Mailbox
from graph_simulator.mailbox_store import MailboxStore
from graph_simulator.state import State
from graph_simulator.subscriptions import Subscription
from graph_simulator.web import VERSION, WebServer

START_TIMEOUT = 20.0
"""Seconds for starting, and for stopping."""

LIFECYCLE_EVENTS = frozenset({"reauthorizationRequired", "missed", "subscriptionRemoved"})


class GraphSimulator(State):
    """A running simulator on 127.0.0.1. Thread-safe.

    Args:
        certificate: PEM file of the server's certificate, for localhost.
        key: PEM file of its private key.
        fault_plan: the faults to inject, which may be changed while the simulator runs.
        accepted_keys: HS256 keys of another token service whose tokens are accepted too; their `appid` names an app.
        trust: PEM file of the CA that issued the certificates of notification receivers.
        port: port to listen on; 0: any free port.

    Attributes:
        url: base URL, which is the sign-in authority and the audience of tokens.

    Raises:
        OSError: the certificate cannot be read, or the port cannot be used.
    """

    def __init__(
        self,
        *,
        certificate: Path,
        key: Path,
        fault_plan: FaultPlan | None = None,
        accepted_keys: Sequence[bytes] = (),
        trust: Path | None = None,
        port: int = 0,
    ) -> None:
        super().__init__(fault_plan or FaultPlan(), accepted_keys)
        self._mailboxes: dict[str, Mailbox] = {}
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(certificate, key)
        self._trust = ssl.create_default_context(cafile=trust) if trust is not None else None
        self._port = port
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="graph-simulator", daemon=True)
        self._thread.start()
        if not self._ready.wait(START_TIMEOUT) or self._failure is not None:
            raise OSError("the Graph simulator could not be started") from self._failure

    @property
    def endpoint(self) -> str:
        """The base URL of Graph's paths."""
        return f"{self.url}/{VERSION}"

    @property
    def subscriptions(self) -> list[Subscription]:
        """The subscriptions that have not expired."""
        with self.lock:
            return self.subscription_registry.live()

    @property
    def notifications_sent(self) -> int:
        """Number of change and lifecycle notifications that receivers accepted."""
        with self.lock:
            return self.notifier.sent

    @property
    def notifications_lost(self) -> int:
        """Number of notifications that the fault plan dropped, or that failed every attempt."""
        with self.lock:
            return self.notifier.lost

    @property
    def notification_responses(self) -> list[tuple[int, float]]:
        """Status and seconds of every request with notifications; status 0 without a response."""
        with self.lock:
            return list(self.notifier.responses)

    def register(
        self,
        mailboxes: Collection[str] | None = None,
        permissions: Collection[str] = (WRITE,),
        *,
        client_id: str | None = None,
    ) -> App:
        """Create an app registration.

        Args:
            mailboxes: addresses that the app may open; None: all.
            permissions: application permissions; see `App.permissions`.
            client_id: the client id; None: a new one.
        """
        app = App(client_id or str(uuid.uuid4()), self.new_secret(), mailboxes, permissions)
        with self.lock:
            self.apps[app.client_id] = app
        return app

    def mailbox(self, address: str, *, shared: bool = False) -> Mailbox:
        """Return the mailbox with an address, which is created if it does not exist."""
        name = address.lower()
        with self.lock:
            if name not in self._mailboxes:
                self.stores[name] = MailboxStore(address, shared=shared, on_change=self.notify_subscribers)
                self._mailboxes[name] = Mailbox(self.stores[name], self.lock, self.fault_plan)
            return self._mailboxes[name]

    def drop_subscriptions(self, mailbox: str | None = None, *, notify: bool = False) -> None:
        """Remove the subscriptions of one mailbox or of all; with `notify`, send `subscriptionRemoved`."""
        with self.lock:
            for subscription in self.subscription_registry.live(mailbox):
                self.subscription_registry.remove(subscription)
                if notify:
                    self.notifier.notify_lifecycle(subscription, "subscriptionRemoved", self.tenant)

    def send_lifecycle(self, event: str, mailbox: str | None = None) -> None:
        """Send a lifecycle event to the subscriptions of one mailbox or of all; `subscriptionRemoved` removes them.

        Raises:
            ValueError: the event is unknown.
        """
        if event not in LIFECYCLE_EVENTS:
            raise ValueError(f"{event} is not a lifecycle event; use one of {', '.join(sorted(LIFECYCLE_EVENTS))}")
        if event == "subscriptionRemoved":
            self.drop_subscriptions(mailbox, notify=True)
            return
        with self.lock:
            for subscription in self.subscription_registry.live(mailbox):
                self.notifier.notify_lifecycle(subscription, event, self.tenant)

    def expire_delta_links(self) -> None:
        """Expire all delta links, and all links to further pages of delta queries."""
        with self.lock:
            self.delta_links.expire()

    def revoke_tokens(self) -> None:
        """Refuse the tokens that were issued or used so far."""
        with self.lock:
            self.tokens.revoke()

    def settle(self, timeout: float = 10.0) -> None:
        """Wait until every pending notification was delivered or lost.

        Raises:
            TimeoutError: notifications are still pending after `timeout` seconds.
        """
        if not self.notifier.settle(timeout):
            raise TimeoutError(f"notifications are still pending after {timeout} s")

    def close(self) -> None:
        """Stop the simulator."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(START_TIMEOUT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as failure:  # noqa: BLE001  raised in the thread that started the simulator
            self._failure = failure
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        server = WebServer(self, self._deliver)
        runner = web.AppRunner(server.app, access_log=None, handle_signals=False, shutdown_timeout=0.2)
        await runner.setup()
        notifier_task = asyncio.create_task(self.notifier.run(self._trust))
        try:
            await web.TCPSite(runner, "127.0.0.1", self._port, ssl_context=self._tls).start()
            self.url = f"https://localhost:{runner.addresses[0][1]}"
            self._ready.set()
            await self._stop.wait()
        finally:
            notifier_task.cancel()
            await asyncio.gather(notifier_task, return_exceptions=True)
            await runner.cleanup()
            await server.close_connections()

    def _deliver(self, address: str, folder: str, content: bytes) -> str:
        return self.mailbox(address).deliver(content, folder)
