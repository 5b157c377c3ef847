"""The names of what is measured, as alerts and dashboards ask for them. A change here is a change for operators.

Units stand in the names where a reader of a chart needs them. Names of attributes follow the settings: `mailbox`,
`route`; none ever carries an address or a word of a message.
"""

from __future__ import annotations

from typing import Final

COLLECTED: Final = "mailroom.collected"
"""Messages stored for the first time; by `mailbox`."""

STORED_BYTES: Final = "mailroom.stored.bytes"
"""Octets of these; by `mailbox`."""

COLLECTED_AGE: Final = "mailroom.collected.age"
"""Seconds from when the server received a message to when it was stored, where the server tells; by `mailbox`."""

DRAIN_SECONDS: Final = "mailroom.drain.seconds"
"""Seconds that a look at a mailbox took; by `mailbox`."""

RESULTS: Final = "mailroom.results"
"""Results written; by `mailbox` and `route`."""

UNHANDLED: Final = "mailroom.unhandled"
"""Messages that no route took; by `mailbox` and `reason`."""

DUPLICATES: Final = "mailroom.duplicates"
"""Recipients that had the message already; by `mailbox`."""

BLOCKED: Final = "mailroom.blocked"
"""Messages of blocked senders; by `mailbox`."""

ROUTED_AGE: Final = "mailroom.routed.age"
"""Seconds from when a message was stored to when it was routed; by `mailbox`."""

FAILURES: Final = "mailroom.failures"
"""What went wrong, and was tried again or given up; by `kind` (the class of the error) and `where`."""

POISONED: Final = "mailroom.poisoned"
"""Messages that were given up after five tries: each has a record under `failed/`; by `mailbox`."""

POISON_WAITING: Final = "mailroom.poison.waiting"
"""Messages on a poison queue; by `queue`."""

OUTBOX: Final = "mailroom.outbox"
"""Messages that are stored and not routed yet."""

OUTBOX_OLDEST: Final = "mailroom.outbox.oldest_seconds"
"""Seconds for which the oldest of these has been waiting; 0: there is none."""

MAILBOX_FAILING: Final = "mailroom.mailbox.failing_seconds"
"""Seconds for which a mailbox has failed without a success in between; 0: it works; by `mailbox`."""

MAILBOX_DISABLED: Final = "mailroom.mailbox.disabled"
"""1: a mailbox is tried no more until it is enabled, or its settings are wrong; else 0; by `mailbox`."""

SUBSCRIPTION_LEFT: Final = "mailroom.subscription.left_seconds"
"""Seconds until Graph stops notifying us of a mailbox, 0 where it does not; by `mailbox`, the soonest folder's."""

WEBHOOK_SECONDS: Final = "mailroom.webhook.seconds"
"""Seconds from when a notification reached the function to its answer; by `status`."""

ALL: Final = frozenset(value for name, value in globals().items() if name.isupper() and isinstance(value, str))
"""All of them."""
