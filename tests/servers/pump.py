"""The work of the Functions host on the queues, synchronously in one thread."""

from __future__ import annotations

from shared.bootstrap import App
from shared.errors import TransientError
from shared.queue_messages import Poll, PollReason, RouteRequest
from shared.storage.base import QueueName


def work_until_idle(app: App) -> None:
    """Receive messages and run the functions' code on them, until the queues have no visible message."""
    queues = app.storage.queues
    while True:
        polls = queues[QueueName.POLLS].receive(4, hidden_for=600)
        for item in polls:
            app.poller.poll(Poll.from_json(item.body))
            queues[QueueName.POLLS].delete(item)
        requests = queues[QueueName.ROUTE_REQUESTS].receive(4, hidden_for=600)
        for item in requests:
            request = RouteRequest.from_json(item.body)
            try:
                app.router.route(request, tried=item.dequeue_count > 1)
            except TransientError as error:
                app.router.requeue(request, error)
            queues[QueueName.ROUTE_REQUESTS].delete(item)
        if not polls and not requests:
            return


def poll(app: App, *mailboxes: str) -> None:
    """Request polls of mailboxes."""
    bodies = [Poll(mailbox, PollReason.MANUAL).to_json() for mailbox in mailboxes]
    app.storage.queues[QueueName.POLLS].put_many(bodies)
