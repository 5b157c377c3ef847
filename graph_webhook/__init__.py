"""Microsoft Graph's side: the notification function, and what looks after the subscriptions.

What the others need is imported when they run: the notification function's first answer is not to wait for it.
"""

import typing

import azure.functions as func

from shared.errors import MessageUnreadable, TransientError
from shared.graph_notifications.webhook import webhook
from shared.observability import log, traceparent_of
from shared.observability.webhook_latency import clock, record_latency
from shared.queue_messages import LifecycleEvent

blueprint = func.Blueprint()  # type: ignore[no-untyped-call]  # the library's own lack

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
    """Take notifications: enqueue a look at each mailbox that is meant. If that fails, the host answers 500.

    A coroutine, which the worker runs on its loop: it never waits for a thread that is draining a mailbox.
    """
    began = clock()
    answer = webhook().answer(req.get_body(), req.params.get("validationToken"), traceparent_of(context))
    if answer.polls:
        polls.set(list(answer.polls))
    if answer.lifecycle:
        lifecycle.set(list(answer.lifecycle))
    record_latency(clock() - began, answer.status, webhook().telemetry)
    return func.HttpResponse(answer.text, status_code=answer.status, mimetype="text/plain", headers=HEADERS)


@blueprint.timer_trigger(arg_name="timer", schedule="0 */5 * * * *", run_on_startup=False)
def renew_subscriptions(timer: func.TimerRequest) -> None:
    """See that Graph notifies us of every collected folder, and goes on doing so. Never raises for what is ill."""
    from shared.bootstrap import app  # noqa: PLC0415

    if timer.past_due:
        log.info("the look at the subscriptions is late")
    try:
        app().subscriptions.reconcile()
    except TransientError as error:
        log.warning("the subscriptions are looked at again at the next tick of the clock: %s", error)


@blueprint.queue_trigger(arg_name="item", queue_name="lifecycle", connection="AzureWebJobsStorage")
def handle_lifecycle_event(item: func.QueueMessage) -> None:
    """Do what a lifecycle notification asks for. What it cannot do now `renew_subscriptions` does later."""
    from shared.bootstrap import app  # noqa: PLC0415

    try:
        app().subscriptions.handle_lifecycle_event(LifecycleEvent.from_json(item.get_body().decode("utf-8", "replace")))
    except MessageUnreadable as error:
        log.error("a lifecycle event is dropped: %s", error)
    except TransientError as error:
        log.warning("the subscriptions are looked at again at the next tick of the clock: %s", error)
