"""The sorter: routes what was stored, records what cannot be routed, and sweeps up what was forgotten.

What does the work is imported when there is some: a worker that was started for a notification is to answer it at once.
"""

import azure.functions as func

from shared.errors import MessageUnreadable, TransientError
from shared.observability import log
from shared.observability.log_context import scrub
from shared.queue_messages import RouteRequest

blueprint = func.Blueprint()  # type: ignore[no-untyped-call]  # the library's own lack


@blueprint.queue_trigger(arg_name="item", queue_name="route-requests", connection="AzureWebJobsStorage")
def route_message(item: func.QueueMessage) -> None:
    """Route one stored message. Raises for what is wrong with the message, which counts against its five tries."""
    from shared.bootstrap import app  # noqa: PLC0415
    from shared.observability.tracing import routing  # noqa: PLC0415

    sorter = app().router
    announcement = RouteRequest.from_json(item.get_body().decode("utf-8", "replace"))
    with routing(announcement.arrival, announcement.traceparent):
        try:
            sorter.route(announcement, tried=item.dequeue_count != 1)
        except TransientError as error:
            sorter.requeue(announcement, error)
        except Exception as error:  # noqa: BLE001  raised again, without its text
            sorter.record_error(announcement, error)
            # The host logs what is raised, and the text of an error that is not ours may quote the message.
            raise scrub(error) from None


@blueprint.queue_trigger(arg_name="item", queue_name="route-requests-poison", connection="AzureWebJobsStorage")
def route_poison(item: func.QueueMessage) -> None:
    """Record a message that five tries could not route."""
    from shared.bootstrap import app  # noqa: PLC0415
    from shared.observability.tracing import routing  # noqa: PLC0415

    try:
        announcement = RouteRequest.from_json(item.get_body().decode("utf-8", "replace"))
    except MessageUnreadable as error:
        log.error("message-failed: an announcement is dropped: %s", error)
        return
    sorter = app().router
    with routing(announcement.arrival, announcement.traceparent):
        sorter.dead_letter(announcement)


@blueprint.timer_trigger(arg_name="timer", schedule="0 */5 * * * *", run_on_startup=False)
def sweep(timer: func.TimerRequest) -> None:
    """Announce again every arrival that has waited for over an hour, remove left-over files, measure the intake."""
    from shared.bootstrap import app  # noqa: PLC0415
    from shared.operations.health_metrics import collect_health_metrics  # noqa: PLC0415

    if timer.past_due:
        log.info("the sweep is late")
    ready = app()
    ready.remove_leftover_files()
    ready.router.sweep()
    collect_health_metrics(ready.settings, ready.storage).emit()
