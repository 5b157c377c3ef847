"""The stand-in as tests and the demonstration hold it: running, and with everything to turn in reach."""

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
from graph_simulator.mailbox_store import Store
from graph_simulator.state import State
from graph_simulator.subscriptions import Subscription
from graph_simulator.web import VERSION, Web

STARTED_WITHIN = 20.0
EVENTS = frozenset({"reauthorizationRequired", "missed", "subscriptionRemoved"})


class GraphSimulator(State):
    """A running stand-in, on a free port of 127.0.0.1. Every method may be called from any thread.

    Args:
        certificate: PEM file of the server's certificate, for localhost.
        key: PEM file of its private key.
        trouble: what is to go wrong; as it is given, tests may change it while it runs.
        accepted_keys: keys (HS256) of another token service whose tokens are good here too; their `appid` names an app.
        trust: PEM file of the CA that receivers of notifications over HTTPS have their certificates from.

    Attributes:
        url: the sign-in authority, and what tokens must be meant for.
        endpoint: where Graph's paths begin.

    Raises:
        OSError: the certificate cannot be read, or it cannot listen.
    """

    def __init__(
        self,
        *,
        certificate: Path,
        key: Path,
        trouble: FaultPlan | None = None,
        accepted_keys: Sequence[bytes] = (),
        trust: Path | None = None,
    ) -> None:
        super().__init__(trouble or FaultPlan(), accepted_keys)
        self._mailboxes: dict[str, Mailbox] = {}
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(certificate, key)
        self._trust = ssl.create_default_context(cafile=trust) if trust is not None else None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="graph-stand-in", daemon=True)
        self._thread.start()
        if not self._ready.wait(STARTED_WITHIN) or self._failure is not None:
            raise OSError("the stand-in for Graph did not come up") from self._failure

    @property
    def endpoint(self) -> str:
        """Where Graph's paths begin."""
        return f"{self.url}/{VERSION}"

    @property
    def subscriptions(self) -> list[Subscription]:
        """Those that are live."""
        with self.lock:
            return self.subscribed.live()

    @property
    def notifications_sent(self) -> int:
        """How many notifications and lifecycle events were taken by their receivers."""
        with self.lock:
            return self.notifier.sent

    @property
    def notifications_lost(self) -> int:
        """How many were lost on purpose or given up."""
        with self.lock:
            return self.notifier.lost

    @property
    def notification_answers(self) -> list[tuple[int, float]]:
        """Status and seconds of every request with notifications so far; status 0 when no answer came."""
        with self.lock:
            return list(self.notifier.answers)

    def register(
        self,
        mailboxes: Collection[str] | None = None,
        permissions: Collection[str] = (WRITE,),
        *,
        client_id: str | None = None,
    ) -> App:
        """A new app registration.

        Args:
            mailboxes: those that it may open; None: all.
            permissions: `Mail.ReadWrite`, or `Mail.Read` to read and subscribe only, or none.
            client_id: its id, if it must be a certain one.
        """
        app = App(client_id or str(uuid.uuid4()), self.new_secret(), mailboxes, permissions)
        with self.lock:
            self.apps[app.client_id] = app
        return app

    def mailbox(self, address: str, *, shared: bool = False) -> Mailbox:
        """The mailbox with that address, which is made if there is none."""
        name = address.lower()
        with self.lock:
            if name not in self._mailboxes:
                self.stores[name] = Store(address, shared=shared, announce=self.announce)
                self._mailboxes[name] = Mailbox(self.stores[name], self.lock, self.trouble)
            return self._mailboxes[name]

    def drop_subscriptions(self, mailbox: str | None = None, *, notify: bool = False) -> None:
        """Lose the subscriptions of one mailbox or of all; with `notify`, their apps are told."""
        with self.lock:
            for subscription in self.subscribed.live(mailbox):
                self.subscribed.remove(subscription)
                if notify:
                    self.notifier.lifecycle(subscription, "subscriptionRemoved", self.tenant)

    def send_lifecycle(self, event: str, mailbox: str | None = None) -> None:
        """Send a lifecycle event to the subscriptions of one mailbox or of all; `subscriptionRemoved` removes them.

        Raises:
            ValueError: there is no such event.
        """
        if event not in EVENTS:
            raise ValueError(f"no lifecycle event is called {event}")
        if event == "subscriptionRemoved":
            self.drop_subscriptions(mailbox, notify=True)
            return
        with self.lock:
            for subscription in self.subscribed.live(mailbox):
                self.notifier.lifecycle(subscription, event, self.tenant)

    def expire_delta_links(self) -> None:
        """None of the delta links and links to further delta pages so far is good any more."""
        with self.lock:
            self.links.expire()

    def revoke_tokens(self) -> None:
        """Refuse the tokens that were issued or used so far."""
        with self.lock:
            self.tokens.revoke()

    def settle(self, timeout: float = 10.0) -> None:
        """Wait until every pending notification was delivered or given up.

        Raises:
            TimeoutError: that took longer than `timeout` seconds.
        """
        if not self.notifier.settle(timeout):
            raise TimeoutError(f"notifications are still pending after {timeout} s")

    def close(self) -> None:
        """Stop it."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(STARTED_WITHIN)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as failure:  # noqa: BLE001  handed to whoever started it
            self._failure = failure
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        served = Web(self)
        runner = web.AppRunner(served.app, access_log=None, handle_signals=False, shutdown_timeout=0.2)
        await runner.setup()
        notifying = asyncio.create_task(self.notifier.run(self._trust))
        try:
            await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=self._tls).start()
            self.url = f"https://localhost:{runner.addresses[0][1]}"
            self._ready.set()
            await self._stop.wait()
        finally:
            notifying.cancel()
            await asyncio.gather(notifying, return_exceptions=True)
            await runner.cleanup()
            await served.hang_up()
