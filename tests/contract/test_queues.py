"""The contract of `Queue`, tested with every storage."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from shared.storage.base import BodyEncoding, QueueName, Storage
from tests.contract.conftest import PassTime


def test_received_messages_are_hidden_and_counted(stores: Storage, pass_time: PassTime) -> None:
    queue = stores.queues[QueueName.ROUTE_REQUESTS]
    queue.put_many(["ä", "b"])
    assert queue.length() == 2
    items = queue.receive(32, hidden_for=1)
    assert sorted(item.body for item in items) == ["b", "ä"]
    assert {item.dequeue_count for item in items} == {1}
    assert abs((datetime.now(UTC) - items[0].inserted).total_seconds()) < 60
    assert queue.receive(32, hidden_for=60) == []
    pass_time(1.5)
    received_again = queue.receive(32, hidden_for=60)
    assert {item.dequeue_count for item in received_again} == {2}
    for stale in items:
        queue.delete(stale)  # it has been received again since
    assert queue.length() == 2
    for item in received_again:
        queue.delete(item)
    assert queue.length() == 0


def test_a_released_message_becomes_visible_after_its_delay(stores: Storage, pass_time: PassTime) -> None:
    queue = stores.queues[QueueName.POLLS]
    queue.put_many(["x"])
    (item,) = queue.receive(1, hidden_for=600)
    queue.release(item, delay=1)
    assert queue.receive(1, hidden_for=600) == []
    pass_time(1.5)
    (item,) = queue.receive(1, hidden_for=600)
    assert item.dequeue_count == 2
    queue.release(item)
    assert len(queue.receive(1, hidden_for=600)) == 1


def test_a_delayed_message_is_hidden_until_its_time(stores: Storage, pass_time: PassTime) -> None:
    queue = stores.queues[QueueName.POLLS]
    queue.put_many(["later"], delay=1, ttl=3600)
    assert queue.receive(1, hidden_for=60) == []
    pass_time(1.5)
    assert [item.body for item in queue.receive(1, hidden_for=60)] == ["later"]


def test_one_of_several_threads_receives_each_message(stores: Storage) -> None:
    queue = stores.queues[QueueName.ROUTE_REQUESTS]
    queue.put_many(map(str, range(100)))
    with ThreadPoolExecutor(8) as pool:
        received = [
            item.body for items in pool.map(lambda _: queue.receive(16, hidden_for=60), range(16)) for item in items
        ]
    assert sorted(received, key=int) == list(map(str, range(100)))


def test_queues_are_separate(stores: Storage) -> None:
    stores.queues[QueueName.POLLS].put_many(["poll"])
    assert stores.queues[QueueName.ROUTE_REQUESTS].receive(1, hidden_for=1) == []


def test_a_released_message_does_not_belong_to_its_first_receiver(stores: Storage) -> None:
    queue = stores.queues[QueueName.POLLS]
    queue.put_many(["x"])
    (first,) = queue.receive(1, hidden_for=600)
    queue.release(first)
    (second,) = queue.receive(1, hidden_for=600)
    queue.delete(first)
    queue.release(first)
    assert queue.receive(1, hidden_for=600) == []
    assert queue.length() == 1
    queue.delete(second)
    queue.delete(second)  # a retry: the response to the first request may have been lost
    queue.release(second)
    assert queue.length() == 0


def test_receive_returns_at_most_the_requested_count(stores: Storage) -> None:
    queue = stores.queues[QueueName.ROUTE_REQUESTS]
    queue.put_many(str(number) for number in range(40))
    assert [len(queue.receive(count, hidden_for=60)) for count in (1, 5, 32, 32)] == [1, 5, 32, 2]


def test_a_renewed_message_stays_hidden_and_keeps_its_owner(stores: Storage, pass_time: PassTime) -> None:
    queue = stores.queues[QueueName.POLLS]
    queue.put_many(["x"])
    (item,) = queue.receive(1, hidden_for=2)
    renewed = queue.renew(item, hidden_for=600)
    assert renewed is not None
    assert (renewed.id, renewed.body, renewed.dequeue_count) == (item.id, "x", 1)
    pass_time(300)
    assert queue.receive(1, hidden_for=600) == []
    renewed = queue.renew(renewed, hidden_for=600)
    assert renewed is not None
    pass_time(598)
    assert queue.receive(1, hidden_for=600) == []
    pass_time(3)
    (received_again,) = queue.receive(1, hidden_for=600)
    assert received_again.dequeue_count == 2
    assert queue.renew(renewed, hidden_for=600) is None
    queue.delete(renewed)
    assert queue.length() == 1
    queue.delete(received_again)
    assert queue.length() == 0
    assert queue.renew(received_again, hidden_for=600) is None


def test_a_forwarded_message_has_the_same_body_and_a_ttl(stores: Storage, pass_time: PassTime) -> None:
    queue, poison = stores.queues[QueueName.POLLS], stores.queues[QueueName.POLLS_POISON]
    queue.put_many(["ä", ""])
    for item in queue.receive(2, hidden_for=600):
        assert item.encoding is BodyEncoding.TEXT
        poison.forward(item, ttl=2)
    forwarded = poison.receive(32, hidden_for=1)
    assert sorted(item.body for item in forwarded) == ["", "ä"]
    assert {item.dequeue_count for item in forwarded} == {1}
    pass_time(2.2)
    assert poison.receive(32, hidden_for=1) == []


def test_a_message_expires_after_its_ttl(stores: Storage, pass_time: PassTime) -> None:
    queue = stores.queues[QueueName.ROUTE_REQUESTS_POISON]
    queue.put_many(["short"], ttl=1)
    queue.put_many(["long"])
    pass_time(2.2)
    assert [item.body for item in queue.receive(32, hidden_for=60)] == ["long"]


def test_put_without_messages(stores: Storage) -> None:
    stores.queues[QueueName.POLLS].put_many([])
    assert stores.queues[QueueName.POLLS].length() == 0
