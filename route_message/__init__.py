"""The functions that route stored messages: the router, the dead-letter handler and the sweep.

The composition root is imported when a function needs it: a worker that was started for a notification must answer it
at once.
"""

import azure.functions as func

from shared.errors import MessageUnreadable, TransientError
from shared.observability import log
from shared.observability.log_context import scrub
from shared.queue_messages import RouteRequest

blueprint = func.Blueprint()  # type: ignore[no-untyped-call]  # the library has no annotation


@blueprint.queue_trigger(arg_name="item", queue_name="route-requests", connection="AzureWebJobsStorage")
def route_message(item: func.QueueMessage) -> None:
    """Route stored messages. Raises for an error of a single message, which counts as one of its five tries."""
    from shared.bootstrap import app  # noqa: PLC0415

    router = app().router
    request = RouteRequest.from_json(item.get_body().decode("utf-8", "replace"))
    try:
        router.route(request, tried=item.dequeue_count != 1)
    except TransientError as error:
        router.requeue(request, error)
    except Exception as error:  # noqa: BLE001  raised again, without its text
        router.record_error(request, error)
        # The host logs the exception. The text of an error that is not Mailroom's may quote the message.
        raise scrub(error) from None


@blueprint.queue_trigger(arg_name="item", queue_name="route-requests-poison", connection="AzureWebJobsStorage")
def route_poison(item: func.QueueMessage) -> None:
    """Write the dead letters of messages that failed all five tries."""
    from shared.bootstrap import app  # noqa: PLC0415
    from shared.observability.exporter import flush  # noqa: PLC0415

    try:
        request = RouteRequest.from_json(item.get_body().decode("utf-8", "replace"))
    except MessageUnreadable as error:
        log.error("message-failed: a route request is dropped: %s", error)
        return
    app().router.dead_letter(request)
    flush()  # The alert message-failed depends on it.


@blueprint.timer_trigger(arg_name="timer", schedule="0 */5 * * * *", run_on_startup=False)
def sweep(timer: func.TimerRequest) -> None:
    """Republish route requests that are over an hour old, remove leftover files, emit the health metrics, and repeat
    erasures.
    """
    from shared.bootstrap import app  # noqa: PLC0415
    from shared.observability.exporter import flush  # noqa: PLC0415
    from shared.operations.erasure import Eraser  # noqa: PLC0415
    from shared.operations.health_metrics import collect_health_metrics  # noqa: PLC0415

    if timer.past_due:
        log.info("sweep runs late")
    application = app()
    application.remove_leftover_files()
    application.router.sweep()
    collect_health_metrics(application.settings, application.storage).emit()
    flush()  # Alerts depend on these gauges, and the instance may end before the next periodic export.
    # Last, since it may read whole tables.
    Eraser.from_settings(application.settings, application.storage).repeat()
