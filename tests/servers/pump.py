"""What the Functions host does with the queues, in one thread and at once: for tests that need every step in hand."""

from __future__ import annotations

from shared.bootstrap import App
from shared.errors import TransientError
from shared.queue_messages import Poll, PollReason, RouteRequest
from shared.storage.base import QueueName


def work_until_idle(app: App) -> None:
    """Take messages off the queues and do what the functions do with them, until no visible one is left."""
    queues = app.storage.queues
    while True:
        polls = queues[QueueName.POLLS].receive(4, hidden_for=600)
        for item in polls:
            app.poller.poll(Poll.from_json(item.body))
            queues[QueueName.POLLS].delete(item)
        arrivals = queues[QueueName.ROUTE_REQUESTS].receive(4, hidden_for=600)
        for item in arrivals:
            route_request = RouteRequest.from_json(item.body)
            try:
                app.router.route(route_request, tried=item.dequeue_count > 1)
            except TransientError as error:
                app.router.requeue(route_request, error)
            queues[QueueName.ROUTE_REQUESTS].delete(item)
        if not polls and not arrivals:
            return


def poll(app: App, *mailboxes: str) -> None:
    """Ask for looks at mailboxes."""
    bodies = [Poll(mailbox, PollReason.MANUAL).to_json() for mailbox in mailboxes]
    app.storage.queues[QueueName.POLLS].put_many(bodies)
