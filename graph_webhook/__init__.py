"""The functions that Microsoft Graph's notifications need: the webhook, its lifecycle events and the renewal timer.

The composition root is imported when a function needs it, so that the first response to Graph does not wait for it.
"""

import typing

import azure.functions as func

from shared.errors import MessageUnreadable, TransientError
from shared.graph_notifications.webhook import webhook
from shared.observability import log, traceparent_of
from shared.observability.webhook_latency import clock, record_latency
from shared.queue_messages import LifecycleEvent

blueprint = func.Blueprint()  # type: ignore[no-untyped-call]  # the library has no annotation

HEADERS = {"X-Content-Type-Options": "nosniff"}


@blueprint.route(route="graph_webhook", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS)
@blueprint.queue_output(arg_name="polls", queue_name="polls", connection="AzureWebJobsStorage")
@blueprint.queue_output(arg_name="lifecycle", queue_name="lifecycle", connection="AzureWebJobsStorage")
async def graph_webhook(
    req: func.HttpRequest,
    polls: func.Out[typing.List[str]],  # noqa: UP006  the worker engine refuses list[str] here
    lifecycle: func.Out[typing.List[str]],  # noqa: UP006
    context: func.Context,
) -> func.HttpResponse:
    """Handle notifications: enqueue a poll of each mailbox that they name. If that fails, the host answers 500.

    A coroutine, which the worker runs on its event loop, never waits for a thread that is draining a mailbox.
    """
    started = clock()
    response = webhook().handle(req.get_body(), req.params.get("validationToken"), traceparent_of(context))
    if response.polls:
        polls.set(list(response.polls))
    if response.lifecycle:
        lifecycle.set(list(response.lifecycle))
    record_latency(clock() - started, response.status, webhook().telemetry)
    return func.HttpResponse(response.text, status_code=response.status, mimetype="text/plain", headers=HEADERS)


@blueprint.timer_trigger(arg_name="timer", schedule="0 */5 * * * *", run_on_startup=False)
def renew_subscriptions(timer: func.TimerRequest) -> None:
    """Renew the Graph subscriptions, and create missing subscriptions. Does not raise for a transient error."""
    from shared.bootstrap import app  # noqa: PLC0415

    if timer.past_due:
        log.info("renew_subscriptions runs late")
    try:
        app().subscriptions.reconcile()
    except TransientError as error:
        log.warning("the subscriptions are checked again at the next run of renew_subscriptions: %s", error)


@blueprint.queue_trigger(arg_name="item", queue_name="lifecycle", connection="AzureWebJobsStorage")
def handle_lifecycle_event(item: func.QueueMessage) -> None:
    """Do what a lifecycle notification asks for. `renew_subscriptions` repeats what fails here."""
    from shared.bootstrap import app  # noqa: PLC0415

    try:
        app().subscriptions.handle_lifecycle_event(LifecycleEvent.from_json(item.get_body().decode("utf-8", "replace")))
    except MessageUnreadable as error:
        log.error("a lifecycle event is dropped: %s", error)
    except TransientError as error:
        log.warning("the subscriptions are checked again at the next run of renew_subscriptions: %s", error)
