"""The users of the directory: one for each mailbox."""

from __future__ import annotations

from http import HTTPStatus

from graph_simulator import odata
from graph_simulator.errors import denied_by_directory, no_such_resource
from graph_simulator.request import Request, Response

BASIC_PROPERTIES = frozenset({"id", "displayName", "mail", "userPrincipalName"})
"""The simulator's properties that `User.ReadBasic.All` covers."""

USER_PROPERTIES = BASIC_PROPERTIES | {"proxyAddresses"}


def get_user(request: Request) -> Response:
    """Handle GET users/{id}: the id is the GUID or the userPrincipalName, not an alias."""
    odata.check_names(request.options, {"$select"})
    selected = odata.selected(request.options, USER_PROPERTIES, "user") or sorted(BASIC_PROPERTIES)
    app = request.app
    if not app.may_read_basic_profiles() or not (app.may_read_users() or BASIC_PROPERTIES.issuperset(selected)):
        raise denied_by_directory()
    store = request.state.find_store(request.key)
    if store is None:
        raise no_such_resource(request.key)
    properties = {
        "id": store.id,
        "displayName": store.address.partition("@")[0],
        "mail": store.address,
        "userPrincipalName": store.address,
        "proxyAddresses": [*store.proxies],
    }
    context = f"{request.state.url}/v1.0/$metadata#users({','.join(selected)})/$entity"
    return Response(HTTPStatus.OK, {"@odata.context": context, **{name: properties[name] for name in selected}})
