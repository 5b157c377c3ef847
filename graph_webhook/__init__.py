"""Microsoft Graph's side: the place of the notification function and of what looks after the subscriptions."""

import azure.functions as func

blueprint = func.Blueprint()  # type: ignore[no-untyped-call]  # the library's own lack
