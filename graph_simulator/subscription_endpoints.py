"""Handlers that create, read, renew and delete subscriptions."""

from __future__ import annotations

from http import HTTPStatus

from graph_simulator import odata, subscription_validation
from graph_simulator.errors import GraphError, access_denied, no_such_item, no_such_subscription, no_such_user
from graph_simulator.items import Folder
from graph_simulator.mailbox_store import MailboxStore
from graph_simulator.paging import make_page, options_and_start
from graph_simulator.request import Request, Response
from graph_simulator.subscriptions import Subscription


async def create(request: Request) -> Response:
    """Handle POST subscriptions: check the body, validate both URLs, then create the subscription."""
    odata.check_names(request.options, ())
    with request.state.lock:
        subscription = _parse(request)
    await request.state.notifier.validate(subscription.url)
    if subscription.lifecycle_url is not None:
        await request.state.notifier.validate(subscription.lifecycle_url)
    with request.state.lock:
        _check_limit(request, subscription.store)
        request.state.subscription_registry.add(subscription)
    return Response(HTTPStatus.CREATED, _json(request, subscription, with_client_state=True))


def list_all(request: Request) -> Response:
    """Handle GET subscriptions: the app's subscriptions."""
    odata.check_names(request.options, {"$skiptoken"})
    options, start = options_and_start(request)
    subscriptions = list(request.state.subscription_registry.of_app(request.app.client_id))
    size = request.state.subscription_page_size
    body = make_page(request, subscriptions, Subscription.json, options=options, start=start, size=size)
    return Response(HTTPStatus.OK, body)


def get(request: Request) -> Response:
    """Handle GET subscriptions/{id}."""
    odata.check_names(request.options, {"$select"})
    return Response(HTTPStatus.OK, _json(request, _find(request)))


async def update(request: Request) -> Response:
    """Handle PATCH subscriptions/{id}: change the expiry or the URL, which is validated first."""
    odata.check_names(request.options, ())
    with request.state.lock:
        subscription = _find(request)
        body = request.json()
        subscription_validation.check_properties(body, subscription_validation.CHANGEABLE)
        expires = subscription.expires
        if "expirationDateTime" in body:
            expires = subscription_validation.expiry(body, request.state.max_subscription_minutes)
        url = subscription.url
        if "notificationUrl" in body:
            url = subscription_validation.url(body, "notificationUrl")
    if url != subscription.url:
        await request.state.notifier.validate(url)
    with request.state.lock:
        _find(request)
        subscription.expires, subscription.url = expires, url
        return Response(HTTPStatus.OK, _json(request, subscription))


def delete(request: Request) -> Response:
    """Handle DELETE subscriptions/{id}."""
    odata.check_names(request.options, ())
    request.state.subscription_registry.remove(_find(request))
    return Response(HTTPStatus.NO_CONTENT)


def reauthorize(request: Request) -> Response:
    """Handle POST subscriptions/{id}/reauthorize."""
    odata.check_names(request.options, ())
    _find(request)
    return Response(HTTPStatus.NO_CONTENT)


def _parse(request: Request) -> Subscription:
    body = request.json()
    subscription_validation.check_properties(body, subscription_validation.KNOWN)
    for name in subscription_validation.REQUIRED:
        subscription_validation.text(body, name)
    user, folder_key = subscription_validation.resource(body)
    kinds = subscription_validation.kinds(body)
    url = subscription_validation.url(body, "notificationUrl")
    client_state = subscription_validation.client_state(body)
    lifecycle_url = None
    if body.get("lifecycleNotificationUrl"):
        lifecycle_url = subscription_validation.url(body, "lifecycleNotificationUrl")
    expires = subscription_validation.expiry(body, request.state.max_subscription_minutes)
    tls = subscription_validation.tls(body)
    store, folder = _find_folder(request, user, folder_key)
    _check_limit(request, store)
    return Subscription(
        app=request.app.client_id,
        store=store,
        folder=folder,
        resource=body["resource"],
        kinds=kinds,
        url=url,
        lifecycle_url=lifecycle_url,
        client_state=client_state,
        expires=expires,
        immutable=request.preferences.immutable,
        tls=tls,
    )


def _find_folder(request: Request, user: str, folder_key: str) -> tuple[MailboxStore, Folder]:
    store = request.state.find_store(user)
    if store is None:
        raise no_such_user(user)
    if not request.app.may_open(store.address):
        raise access_denied()
    folder = store.folder(folder_key)
    if folder is None:
        raise no_such_item()
    return store, folder


def _check_limit(request: Request, store: MailboxStore) -> None:
    limit = request.state.subscriptions_per_mailbox
    if len(request.state.subscription_registry.live(store.address)) >= limit:
        text = f"The mailbox has {limit} subscriptions, and may have no more."
        raise GraphError(HTTPStatus.FORBIDDEN, "ExtensionError", text)


def _find(request: Request) -> Subscription:
    subscription = request.state.subscription_registry.find(request.key, request.app.client_id)
    if subscription is None:
        raise no_such_subscription()
    return subscription


def _json(request: Request, subscription: Subscription, *, with_client_state: bool = False) -> dict[str, object]:
    context = f"{request.state.url}/v1.0/$metadata#subscriptions/$entity"
    return {"@odata.context": context, **subscription.json(with_client_state=with_client_state)}
