"""Intake: from mailboxes into storage, the producing half of a transactional outbox with idempotent consumers.

A message's raw bytes are stored, then its receipt and its outbox entry are created in one transaction, then its route
request is published. Only then is the message removed from its mailbox. Dispatch (shared/dispatch) consumes the request
and deletes the outbox entry when the message is routed. After a crash at any point, the next poll or `sweep` resumes
the work.

`poller` decides whether to poll, `mailbox_drain` and `folder_sync` drain, `arrival_store` stores and publishes,
`arrival_records` creates receipts and entries, and `batches` divides arrivals into route requests.
"""
