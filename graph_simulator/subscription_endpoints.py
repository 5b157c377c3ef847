"""Making, reading, renewing and ending subscriptions."""

from __future__ import annotations

from http import HTTPStatus

from graph_simulator import odata
from graph_simulator import subscription_validation as given
from graph_simulator.errors import GraphError, access_denied, no_such_item, no_such_subscription, no_such_user
from graph_simulator.items import Folder
from graph_simulator.mailbox_store import Store
from graph_simulator.paging import options_and_start, page
from graph_simulator.request import Request, Response
from graph_simulator.subscriptions import Subscription


async def create(call: Request) -> Response:
    """POST subscriptions: checked, then both addresses are asked, then it is there."""
    odata.check_names(call.options, ())
    with call.state.lock:
        made = _made(call)
    await call.state.notifier.validate(made.url)
    if made.lifecycle_url is not None:
        await call.state.notifier.validate(made.lifecycle_url)
    with call.state.lock:
        _check_room(call, made.store)
        call.state.subscribed.add(made)
    return Response(HTTPStatus.CREATED, _json(call, made, with_state=True))


def every(call: Request) -> Response:
    """GET subscriptions: the app's own."""
    odata.check_names(call.options, {"$skiptoken"})
    options, start = options_and_start(call)
    found = list(call.state.subscribed.of_app(call.app.client_id))
    size = call.state.subscription_page
    body = page(call, found, Subscription.json, options=options, start=start, size=size)
    return Response(HTTPStatus.OK, body)


def one(call: Request) -> Response:
    """GET subscriptions/{id}."""
    odata.check_names(call.options, {"$select"})
    return Response(HTTPStatus.OK, _json(call, _found(call)))


async def change(call: Request) -> Response:
    """PATCH subscriptions/{id}: its end, or where notifications go, which is asked first."""
    odata.check_names(call.options, ())
    with call.state.lock:
        found = _found(call)
        body = call.json()
        given.check_properties(body, given.CHANGEABLE)
        expires = found.expires
        if "expirationDateTime" in body:
            expires = given.expiry(body, call.state.longest_subscription)
        url = given.url(body, "notificationUrl") if "notificationUrl" in body else found.url
    if url != found.url:
        await call.state.notifier.validate(url)
    with call.state.lock:
        _found(call)
        found.expires, found.url = expires, url
        return Response(HTTPStatus.OK, _json(call, found))


def delete(call: Request) -> Response:
    """DELETE subscriptions/{id}."""
    odata.check_names(call.options, ())
    call.state.subscribed.remove(_found(call))
    return Response(HTTPStatus.NO_CONTENT)


def reauthorize(call: Request) -> Response:
    """POST subscriptions/{id}/reauthorize."""
    odata.check_names(call.options, ())
    _found(call)
    return Response(HTTPStatus.NO_CONTENT)


def _made(call: Request) -> Subscription:
    body = call.json()
    given.check_properties(body, given.KNOWN)
    for name in given.REQUIRED:
        given.text(body, name)
    user, key = given.resource(body)
    kinds, url, state = given.kinds(body), given.url(body, "notificationUrl"), given.client_state(body)
    lifecycle = given.url(body, "lifecycleNotificationUrl") if body.get("lifecycleNotificationUrl") else None
    expires = given.expiry(body, call.state.longest_subscription)
    tls = given.tls(body)
    store, folder = _place(call, user, key)
    _check_room(call, store)
    return Subscription(
        app=call.app.client_id,
        store=store,
        folder=folder,
        resource=body["resource"],
        kinds=kinds,
        url=url,
        lifecycle_url=lifecycle,
        client_state=state,
        expires=expires,
        immutable=call.preferences.immutable,
        tls=tls,
    )


def _place(call: Request, user: str, key: str) -> tuple[Store, Folder]:
    store = call.state.store_of(user)
    if store is None:
        raise no_such_user(user)
    if not call.app.may_open(store.address):
        raise access_denied()
    folder = store.folder(key)
    if folder is None:
        raise no_such_item()
    return store, folder


def _check_room(call: Request, store: Store) -> None:
    most = call.state.subscriptions_per_mailbox
    if len(call.state.subscribed.live(store.address)) >= most:
        text = f"The mailbox has {most} subscriptions, and may have no more."
        raise GraphError(HTTPStatus.FORBIDDEN, "ExtensionError", text)


def _found(call: Request) -> Subscription:
    found = call.state.subscribed.find(call.key, call.app.client_id)
    if found is None:
        raise no_such_subscription()
    return found


def _json(call: Request, subscription: Subscription, *, with_state: bool = False) -> dict[str, object]:
    context = f"{call.state.url}/v1.0/$metadata#subscriptions/$entity"
    return {"@odata.context": context, **subscription.json(with_state=with_state)}
