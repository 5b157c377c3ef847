"""Rule 8.1 for Microsoft Graph: a fault at every request and every operation of the storage, in every way."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from shared.config import MailboxSettings, load_settings
from shared.mailboxes.base import Mailbox
from shared.mailboxes.graph.endpoint import GraphEndpoint
from shared.mailboxes.graph.mailbox import GraphMailbox
from shared.mailboxes.oauth.token_cache import TokenCache
from shared.storage.factory import open_storage
from tests.integration.test_faults import (
    OFFICE_MAIL,
    SUPPORT_MAIL,
    FaultFixture,
    assert_nothing_lost_nothing_doubled,
)
from tests.servers.faults import FailureMode, FaultInjector, failure_points_of_kind
from tests.servers.graph import Graph
from tests.servers.memory_app import TWO_MAILBOXES, let_time_pass

_worlds = itertools.count()


class GraphFaultFixture(FaultFixture):
    """The two mailboxes on a Graph simulator, at addresses that no other fixture uses."""

    def __init__(self, folder: Path, graph: Graph, tokens: TokenCache, after: str = "delete") -> None:
        self.folder = folder
        self.violations: list[str] = []
        self._graph = graph
        self._tokens = tokens
        self._endpoint = GraphEndpoint(graph.server.endpoint, 10)
        self._after = after
        values = {**graph.values(support="support@example.com", office="office@example.com"), **TWO_MAILBOXES}
        values |= {f"MAILBOXES__{name}__AFTER": after for name in ("support", "office")}
        self.settings = load_settings({**values, "AzureWebJobsStorage": f"folder:{folder}"})
        number = next(_worlds)
        self._addresses = {name: f"{name}-{number}@example.com" for name in ("support", "office")}
        self._delivered: dict[str, bytes] = {}
        for name, mail in (("support", SUPPORT_MAIL), ("office", OFFICE_MAIL)):
            box = graph.server.mailbox(self._addresses[name])
            self._delivered |= {box.deliver(data): data for data in mail}
        self.truth = open_storage(self.settings.app_storage, self.settings.mail_storage, "mail")

    def has_mail(self) -> bool:
        """Return whether any mailbox has messages that should have been removed."""
        boxes = (self._graph.server.mailbox(address) for address in self._addresses.values())
        messages = [message for box in boxes for message in box.contents("Inbox")]
        if self._after == "keep":
            assert Counter(messages) == Counter([*SUPPORT_MAIL, *OFFICE_MAIL])
            return False
        return bool(messages)

    def connect(self, settings: MailboxSettings, faults: FaultInjector | None) -> Mailbox:
        session = GraphMailbox(replace(settings, address=self._addresses[settings.name]), self._tokens, self._endpoint)
        once = session._client._send_once

        async def faulty(build: Callable[[], Any], read: Any) -> Any:
            info = build()
            method = info.http_method.value
            if method == "DELETE" or info.url_template.endswith(("/move", "/permanentDelete")):
                self._must_be_stored(self._delivered[info.path_parameters["message%2Did"]])
            fault = None if faults is None else faults.step(f"request {method}", _broken)
            answer = await once(build, read)
            if faults is not None:
                faults.after(fault)
            return answer

        session._client._send_once = faulty  # type: ignore[method-assign]
        return session


class _broken(httpx.ReadError):  # noqa: N801  used like a function that creates an error
    pass


def run_until_done(world: GraphFaultFixture, faults: FaultInjector) -> None:
    """Run a process with faults, then processes without faults until all work is done."""
    world.run(faults)
    let_time_pass(world.folder)
    world.run()
    assert_nothing_lost_nothing_doubled(world)


WAYS = [
    *((way, "delete") for way in FailureMode),
    # Also the watermark, which is written last, and a removal that may be requested twice.
    (FailureMode.GONE_BEFORE, "keep"),
    (FailureMode.REPLY_LOST, "move:Archive"),
]


@pytest.mark.parametrize(("way", "after"), WAYS, ids=[f"{way.value.replace(' ', '-')}-{after}" for way, after in WAYS])
def test_8_1_a_fault_at_every_step_of_graph(
    way: FailureMode, after: str, graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The modes together use every operation of a poll. `make test-soak` uses all operations in every mode.

    `test_arrival_faults.py` and `test_route_batch_faults.py` use the operations of intake and routing in more modes.
    """
    monkeypatch.setattr("shared.mailboxes.graph.client.MIN_BACKOFF", 0.01)
    tokens = graph.tokens
    undisturbed = GraphFaultFixture(tmp_path / "0", graph, tokens, after)
    counting = FaultInjector()
    run_until_done(undisturbed, counting)
    undisturbed.truth.close()
    asked = sum(name.startswith("request") for name in counting.names)
    messages = len(SUPPORT_MAIL + OFFICE_MAIL)
    # A listing, or for a target that is asked for by name also that; and for each message its content and its removal.
    assert asked == {"delete": 2 + 2 * messages, "keep": 2 + messages, "move:Archive": 4 + 2 * messages}[after]
    fault_at = partial(FaultInjector, way=way)
    for at in failure_points_of_kind(counting.names, way):
        world = GraphFaultFixture(tmp_path / str(at), graph, tokens, after)
        faults = fault_at(at)
        try:
            run_until_done(world, faults)
        except AssertionError as error:
            name = faults.names[at - 1] if len(faults.names) >= at else "(not reached)"
            raise AssertionError(f"after operation {at} of {counting.count}, {name}, {way.value}: {error}") from error
        finally:
            world.truth.close()
