"""What the Functions host does with the queues, in one thread and at once: for tests that need every step in hand."""

from __future__ import annotations

from shared.bootstrap import App
from shared.errors import TryAgain
from shared.queue_messages import Announcement, Poll, Reason
from shared.storage.base import QueueName


def work_until_idle(app: App) -> None:
    """Take messages off the queues and do what the functions do with them, until no visible one is left."""
    queues = app.stores.queues
    while True:
        polls = queues[QueueName.POLLS].receive(4, hidden_for=600)
        for item in polls:
            app.poller.poll(Poll.of(item.body))
            queues[QueueName.POLLS].delete(item)
        arrivals = queues[QueueName.ARRIVALS].receive(4, hidden_for=600)
        for item in arrivals:
            announcement = Announcement.of(item.body)
            try:
                app.sorter.sort(announcement, tried=item.dequeue_count > 1)
            except TryAgain as error:
                app.sorter.put_back(announcement, error)
            queues[QueueName.ARRIVALS].delete(item)
        if not polls and not arrivals:
            return


def poll(app: App, *mailboxes: str) -> None:
    """Ask for looks at mailboxes."""
    bodies = [Poll(mailbox, Reason.BY_HAND).body() for mailbox in mailboxes]
    app.stores.queues[QueueName.POLLS].put_many(bodies)
