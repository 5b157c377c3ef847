"""The functions that poll mailboxes: the timer, and the queue trigger that drains one mailbox.

The composition root is imported when a function needs it: a worker that was started for a notification must answer it
at once.
"""

import typing

import azure.functions as func

from shared.errors import MessageUnreadable, TransientError
from shared.observability import log, traceparent_of
from shared.queue_messages import Poll, PollReason

blueprint = func.Blueprint()  # type: ignore[no-untyped-call]  # the library has no annotation


@blueprint.timer_trigger(arg_name="timer", schedule="%POLL_SCHEDULE%", run_on_startup=False)
@blueprint.queue_output(arg_name="polls", queue_name="polls", connection="AzureWebJobsStorage")
def poll_timer(
    timer: func.TimerRequest,
    polls: func.Out[typing.List[str]],  # noqa: UP006  the worker engine refuses list[str] here
    context: func.Context,
) -> None:
    """Enqueue a poll of each mailbox that is due, and a lifecycle event if a folder has no valid subscription."""
    from shared.bootstrap import app  # noqa: PLC0415

    if timer.past_due:
        log.warning("poll_timer runs late: one poll replaces the polls that were missed")
    polls.set([poll.to_json() for poll in app().poller.due_polls(PollReason.TIMER, traceparent_of(context))])
    try:
        app().subscriptions.request_missing(traceparent_of(context))
    except TransientError as error:
        log.warning("missing subscriptions are created by renew_subscriptions: %s", error)


@blueprint.queue_trigger(arg_name="item", queue_name="polls", connection="AzureWebJobsStorage")
def poll_mailbox(item: func.QueueMessage) -> None:
    """Drain one mailbox. Does not raise for an error of the mailbox or the storage."""
    from shared.bootstrap import app  # noqa: PLC0415
    from shared.observability.tracing import polling  # noqa: PLC0415

    try:
        poll = Poll.from_json(item.get_body().decode("utf-8", "replace"))
    except MessageUnreadable as error:
        log.error("a poll is dropped: %s", error)
        return
    poller = app().poller
    with polling(poll.mailbox, poll.traceparent):
        poller.poll(poll)
