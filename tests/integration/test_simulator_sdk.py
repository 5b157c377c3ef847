"""The simulator with Microsoft's libraries: MSAL gets the token, msgraph-sdk reads and removes."""

from __future__ import annotations

import asyncio
import importlib
import ssl
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msal
import pytest
import requests

from tests.integration.simulator_support import (
    ADDRESS,
    SIZED,
    Receiver,
    SimulatorFixture,
    from_now,
    letter,
    running_receiver,
    running_simulator,
)
from tests.servers.certificates import Ca

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def sim(ca: Ca, tmp_path: Path) -> Iterator[SimulatorFixture]:
    with running_simulator(ca, tmp_path) as fixture:
        yield fixture


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running_receiver() as receiver:
        yield receiver


def token_from_msal(sim: SimulatorFixture, ca_file: Path) -> str:
    with requests.Session() as session:
        session.trust_env, session.verify = False, str(ca_file)
        app = msal.ConfidentialClientApplication(
            sim.app.client_id,
            client_credential=sim.app.secret,
            authority=f"{sim.graph.url}/{sim.graph.tenant}",
            instance_discovery=False,
            http_client=session,
        )
        answer = app.acquire_token_for_client([f"{sim.graph.url}/.default"])
    return str(answer["access_token"])


def named(path: str) -> Any:
    """Import an object of the SDK by its full name, so that only the needed ones of its many modules are loaded."""
    module, _, name = path.rpartition(".")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return getattr(importlib.import_module(module), name)


def sdk(sim: SimulatorFixture, client: httpx.AsyncClient, token: str) -> Any:
    authentication = "kiota_abstractions.authentication"

    class Signed(named(f"{authentication}.authentication_provider.AuthenticationProvider")):  # type: ignore[misc]
        async def authenticate_request(self, request: Any, additional_authentication_context: Any = None) -> None:
            request.headers.add("Authorization", f"Bearer {token}")
            request.headers.add("Prefer", 'IdType="ImmutableId"')

    adapter = named("msgraph.graph_request_adapter.GraphRequestAdapter")(Signed(), client)
    adapter.base_url = sim.graph.endpoint
    return named("msgraph.graph_service_client.GraphServiceClient")(request_adapter=adapter)


def test_the_sdk_lists_reads_and_removes(sim: SimulatorFixture, ca_file: Path, receiver: Receiver) -> None:
    ids = [sim.box.deliver(letter(number)) for number in range(5)]
    token = token_from_msal(sim, ca_file)

    async def work() -> None:
        async with httpx.AsyncClient(verify=ssl.create_default_context(cafile=ca_file), trust_env=False) as client:
            user = sdk(sim, client, token).users.by_user_id(ADDRESS)
            inbox = user.mail_folders.by_mail_folder_id("inbox").messages
            await lists(inbox, ids)
            link = await changes(inbox, ids)
            await removes(user, ids)
            after = await inbox.delta.with_url(link).get()
            assert {item.id for item in after.value} == set(ids[:3])
            assert all("@removed" in item.additional_data for item in after.value)
            await subscribes(sdk(sim, client, token), receiver)

    asyncio.run(work())
    assert sim.box.ids("Archive") == [ids[0]]
    assert sim.box.ids("Deleted Items") == [ids[1]]
    assert sim.box.purged == [letter(2)]
    assert sim.graph.subscriptions == []


async def lists(inbox: Any, ids: list[str]) -> None:
    builder = "msgraph.generated.users.item.mail_folders.item.messages.messages_request_builder.MessagesRequestBuilder"
    options = named(builder).MessagesRequestBuilderGetQueryParameters(
        top=2, select=["subject"], orderby=["receivedDateTime asc"], expand=[SIZED]
    )
    configuration = named("kiota_abstractions.base_request_configuration.RequestConfiguration")
    page = await inbox.get(request_configuration=configuration(query_parameters=options))
    pages = [page.value]
    while page.odata_next_link:
        page = await inbox.with_url(page.odata_next_link).get()
        pages.append(page.value)
    assert [[item.id for item in page] for page in pages] == [ids[:2], ids[2:4], ids[4:]]
    (size,) = pages[0][0].single_value_extended_properties
    assert (size.id, size.value) == ("Long 0xe08", str(len(letter())))


async def changes(inbox: Any, ids: list[str]) -> str:
    page = await inbox.delta.get()
    seen = {item.id for item in page.value}
    while page.odata_next_link:
        page = await inbox.delta.with_url(page.odata_next_link).get()
        seen |= {item.id for item in page.value}
    assert seen == set(ids)
    return str(page.odata_delta_link)


async def removes(user: Any, ids: list[str]) -> None:
    first, second, third = (user.messages.by_message_id(item) for item in ids[:3])
    assert await first.content.get() == letter(0)
    body = named("msgraph.generated.users.item.messages.item.move.move_post_request_body.MovePostRequestBody")
    moved = await first.move.post(body(destination_id="archive"))
    assert moved.id == ids[0]
    await second.delete()
    await third.permanent_delete.post()
    with pytest.raises(named("msgraph.generated.models.o_data_errors.o_data_error.ODataError")) as caught:
        await third.get()
    assert (caught.value.response_status_code, caught.value.error.code) == (404, "ErrorItemNotFound")


async def subscribes(graph: Any, receiver: Receiver) -> None:
    subscription = named("msgraph.generated.models.subscription.Subscription")
    datetime = named("datetime.datetime")
    created = await graph.subscriptions.post(
        subscription(
            change_type="created",
            notification_url=receiver.url,
            lifecycle_notification_url=receiver.url,
            resource=f"users/{ADDRESS}/mailFolders('inbox')/messages",
            expiration_date_time=datetime.fromisoformat(from_now(minutes=60)),
            client_state="secret",
            latest_supported_tls_version="v1_2",
        )
    )
    handle = graph.subscriptions.by_subscription_id(created.id)
    later = datetime.fromisoformat(from_now(minutes=90))
    renewed = await handle.patch(subscription(expiration_date_time=later))
    assert renewed.expiration_date_time == later
    await handle.reauthorize.post()
    assert [item.id for item in (await graph.subscriptions.get()).value] == [created.id]
    await handle.delete()
