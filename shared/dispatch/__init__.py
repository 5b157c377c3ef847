"""Dispatch: from stored arrivals to results, the consuming half of a transactional outbox with idempotent consumers.

Intake (shared/intake) writes an arrival's receipt and outbox entry before it publishes the route request. Dispatch
consumes the request, at least once. Each of its writes is create-only or conditional, so that a message routed twice,
or by two workers at once, leaves what one attempt leaves. The outbox entry is deleted last.

`router` holds the steps, `deduplication` the claims, `outbox` the open route requests, and `artifacts` finds everything
that an erasure deletes.
"""
