"""`mailroom replay` on a real mail server and real storage, with the functions on Microsoft's worker engine."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from tests.end_to_end.command import (
    assert_all_stored,
    identity,
    mailboxes,
    mailroom,
    opened,
    recorded,
    results,
    settings_file,
)
from tests.servers.dovecot import Dovecot
from tests.servers.mail import plain_mail


def test_8_4_replay_routes_unhandled_messages_with_a_new_route(dovecot: Dovecot, storage: str, tmp_path: Path) -> None:
    user = dovecot.user()
    mail = [plain_mail(n, to=("sales" if n % 2 else "billing") + "@example.com") for n in range(16)]
    user.deliver(mail)
    billing = {"ROUTES__billing__ADDRESS": "billing@example.com"}
    both = {**billing, "ROUTES__sales__ADDRESS": "sales@example.com"}
    settings = settings_file(tmp_path, storage, {**mailboxes(dovecot, support=user), **billing})
    assert mailroom("run-once", settings=settings).returncode == 0
    stores = opened(storage)
    unhandled = recorded(stores, "unhandled")
    assert unhandled.total() == 8

    # The operator's machine has the storage and the routes, but no secret of a mailbox.
    secretless = {name: value for name, value in mailboxes(dovecot, support=user).items() if "PASSWORD" not in name}
    settings = settings_file(tmp_path, storage, {**secretless, **both})
    dry = mailroom("replay", "unhandled/support/", "--dry-run", settings=settings)
    assert dry.returncode == 0, dry.stderr
    assert dry.stdout.split()[:4] == ["kind", "mailbox", "messages", "new"]
    assert "replay does not use PASSWORD, so that any value will do" in " ".join(dry.stdout.split())
    assert "nothing was changed; without --dry-run, 8 messages" in dry.stdout
    anything = {**secretless, **both, "MAILBOXES__support__PASSWORD": "x"}
    preview = mailroom("replay", "unhandled/", "--dry-run", settings=settings_file(tmp_path, storage, anything))
    assert ["unhandled", "support", "8", "routed"] in [line.split() for line in preview.stdout.splitlines()]
    settings = settings_file(tmp_path, storage, {**secretless, **both})
    requested = mailroom("replay", "--since", "2026-01-01", "--kind", "unhandled", settings=settings)
    assert requested.returncode == 0, requested.stderr
    assert "the replay of 8 messages is requested" in requested.stdout
    assert "records: 8 of 8" in requested.stderr

    settings = settings_file(tmp_path, storage, {**mailboxes(dovecot, support=user), **both})
    assert mailroom("run-once", settings=settings).returncode == 0
    expected = Counter(
        ((to, f"{to}@example.com", identity(data)) for to, data in zip(["billing", "sales"] * 8, mail, strict=True))
    )
    assert results(stores) == expected
    for path in stores.blobs.list("unhandled/"):
        assert json.loads(stores.blobs.read(path) or b"")["resolved"]["outcome"] == "routed"
    assert_all_stored(stores, mail)
    repeated = mailroom("replay", "unhandled/", settings=settings)
    assert "8 records are already resolved" in repeated.stdout
    assert "nothing to replay" in repeated.stdout

    [result, *_] = stores.blobs.list("routed/sales/")
    refused = mailroom("replay", result, settings=settings)
    assert refused.returncode == 2
    assert "only --reissue" in refused.stderr
    again = mailroom("replay", result, "--reissue", settings=settings)
    assert again.returncode == 0, again.stderr
    assert "consumers see it as a new event" in again.stdout
    assert mailroom("run-once", settings=settings).returncode == 0
    assert results(stores).total() == len(mail) + 1
    [new] = set(stores.blobs.list(result.removesuffix(".json"))) - {result}
    assert json.loads(stores.blobs.read(new) or b"")["replaces"] == result
    stores.close()


def test_replay_reports_invalid_options(tmp_path: Path) -> None:
    settings = settings_file(tmp_path, f"folder:{tmp_path / 'mail'}", {})
    missing = mailroom("replay", "failed/support/2026/11/24/", settings=settings)
    assert (missing.returncode, missing.stderr.strip()) == (1, "there is nothing at failed/support/2026/11/24/")
    assert mailroom("replay", "--since", "2026-11-24", settings=settings).returncode == 0
    for words in ([], ["x", "--since", "2026-11-24"], ["--since", "2026-11-24", "--kind", "lost"], ["unreadable/x/"]):
        refused = mailroom("replay", *words, settings=settings)
        assert refused.returncode == 2, words
        assert "Traceback" not in refused.stderr
    backwards = mailroom("replay", "--since", "2026-11-24", "--until", "2026-11-23", settings=settings)
    assert backwards.returncode == 2
