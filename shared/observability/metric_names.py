"""The names of metrics, and of the attributes of spans and log records.

Operators' alerts and dashboards use these names, so a change here breaks them. A name contains the unit if a reader of
a chart needs it. Attributes are named as in the settings: `mailbox`, `route`. No attribute ever contains an e-mail
address or message content.
"""

from __future__ import annotations

from typing import Final

PREFIX: Final = "mailroom."
"""The first characters of the names of all metrics and attributes."""

COLLECTED: Final = "mailroom.collected"
"""Messages stored for the first time; by `mailbox`."""

STORED_BYTES: Final = "mailroom.stored.bytes"
"""Bytes of the messages stored for the first time; by `mailbox`."""

COLLECTED_AGE: Final = "mailroom.collected.age"
"""Seconds between reception by the server and storage of a message, if the server reports it; by `mailbox`."""

DRAIN_SECONDS: Final = "mailroom.drain.seconds"
"""Seconds that a poll of a mailbox took; by `mailbox`."""

OUTCOMES: Final = "mailroom.outcomes"
"""Messages whose outcome was decided or changed; by `mailbox`, `outcome` and `previous` (`waiting`: not yet routed)."""

RESULTS: Final = "mailroom.results"
"""Results written; by `mailbox` and `route`."""

UNHANDLED: Final = "mailroom.unhandled"
"""Messages that matched no route; by `mailbox` and `reason`."""

DUPLICATES: Final = "mailroom.duplicates"
"""Recipients that already had a result for the message; by `mailbox`."""

BLOCKED: Final = "mailroom.blocked"
"""Messages of blocked senders; by `mailbox`."""

ROUTED_AGE: Final = "mailroom.routed.age"
"""Seconds between storing and routing a message; by `mailbox`."""

FAILURES: Final = "mailroom.failures"
"""Errors that led to a retry or a dead letter; by `kind` (the class of the error) and `where`."""

POISONED: Final = "mailroom.poisoned"
"""Dead letters: messages that failed five tries, with a record under `failed/`; by `mailbox`."""

POISON_WAITING: Final = "mailroom.poison.waiting"
"""Messages on a poison queue; by `queue`."""

OUTBOX: Final = "mailroom.outbox"
"""Messages that are stored but not yet routed."""

OUTBOX_OLDEST: Final = "mailroom.outbox.oldest_seconds"
"""Age in seconds of the oldest message in the outbox; 0: the outbox is empty."""

MAILBOX_FAILING: Final = "mailroom.mailbox.failing_seconds"
"""Seconds since a mailbox began to fail; 0: it works; by `mailbox`."""

MAILBOX_DISABLED: Final = "mailroom.mailbox.disabled"
"""1: a mailbox is disabled, or its settings are invalid; else 0; by `mailbox`."""

SUBSCRIPTION_LEFT: Final = "mailroom.subscription.left_seconds"
"""Seconds until the first Graph subscription of a mailbox ends; 0: one is missing; by `mailbox`."""

WEBHOOK_SECONDS: Final = "mailroom.webhook.seconds"
"""Seconds between a notification and the response to it; by `status`."""

ALL: Final = frozenset(
    value for name, value in globals().items() if name.isupper() and isinstance(value, str) and value != PREFIX
)
"""The names of all metrics."""
