"""The users of the directory: each mailbox is one."""

from __future__ import annotations

from http import HTTPStatus

from graph_simulator import odata
from graph_simulator.errors import denied_by_directory, no_such_resource
from graph_simulator.request import Request, Response

BASIC_PROPERTIES = frozenset({"id", "displayName", "mail", "userPrincipalName"})
"""What `User.ReadBasic.All` shows, as far as it is known here."""

USER_PROPERTIES = BASIC_PROPERTIES | {"proxyAddresses"}


def user(call: Request) -> Response:
    """GET users/{id}: by the GUID or the userPrincipalName; an alias does not do."""
    odata.check_names(call.options, {"$select"})
    chosen = odata.selected(call.options, USER_PROPERTIES, "user") or sorted(BASIC_PROPERTIES)
    if not call.app.may_read_names() or not (call.app.may_read_users() or BASIC_PROPERTIES.issuperset(chosen)):
        raise denied_by_directory()
    store = call.state.store_of(call.key)
    if store is None:
        raise no_such_resource(call.key)
    found = {
        "id": store.id,
        "displayName": store.address.partition("@")[0],
        "mail": store.address,
        "userPrincipalName": store.address,
        "proxyAddresses": [*store.proxies],
    }
    context = f"{call.state.url}/v1.0/$metadata#users({','.join(chosen)})/$entity"
    return Response(HTTPStatus.OK, {"@odata.context": context, **{name: found[name] for name in chosen}})
