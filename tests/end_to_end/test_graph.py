"""Office 365 end to end on the worker engine: notifications over HTTP, polls, routing, subscriptions."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from typer.testing import CliRunner

from functions_host.host_mode import AS_IN_AZURE
from graph_simulator import FaultPlan
from mailroom_cli.cli import cli
from shared.storage.base import Table
from tests.end_to_end.command import (
    assert_all_stored,
    identity,
    mailroom,
    opened,
    recorded,
    results,
    settings_file,
)
from tests.end_to_end.graph_app import running
from tests.servers.azurite import free_ports
from tests.servers.graph import STATE_KEY, Graph
from tests.servers.mail import plain_mail
from tests.sizes import size

MESSAGES = size(75, soak=1_000)


def letter(number: int) -> bytes:
    """Return a unique message; every third one is eight-bit mail in another charset than UTF-8."""
    if number % 3:
        return plain_mail(number, to=f"list{number % 2}@example.com")
    head = f"From: a@b.example\r\nTo: list{number % 2}@example.com\r\nMessage-ID: <{number}@b.example>\r\n"
    head += f"Subject: {number}\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: 8bit\r\n"
    return head.encode() + b"\r\n\xe4\xf6\xfc \x80\xff " + bytes(range(1, 9)) + b"\r\n"


def test_many_messages_with_lost_duplicate_and_late_notifications(
    graphs: Callable[..., Graph], storage: str, tmp_path: Path
) -> None:
    fault_plan = FaultPlan(
        seed=3, lose=0.2, duplicate=0.1, delay=(0.0, 0.6), reorder=True, throttle=0.02, retry_after=1, latency=0.002
    )
    graph = graphs(fault_plan=fault_plan)
    boxes = [graph.box(f"{name}@example.com") for name in ("support", "sales", "office")]
    (port,) = free_ports(1)
    values = {
        **graph.values(support="support@example.com", sales="sales@example.com", office="support@example.com"),
        "MAILBOXES__office__SHARED_MAILBOX": "office@example.com",
        "AzureWebJobsStorage": storage,
        "POLL_SCHEDULE": "*/2 * * * * *",
        "GRAPH_WEBHOOK_URL": f"http://127.0.0.1:{port}/api/graph_webhook",
        "GRAPH_CLIENT_STATE_KEY": STATE_KEY,
        "ROUTES__first__ADDRESS": "list0@example.com",
        # The timer finds messages whose notification is lost within the time of a test.
        **{f"MAILBOXES__{name}__POLL_EVERY": "10" for name in ("support", "sales", "office")},
    }
    letters = [letter(number) for number in range(MESSAGES)]
    with running(values, port, tmp_path):
        _wait(lambda: len(graph.server.subscriptions) == 3)
        for number, data in enumerate(letters):
            boxes[number % 3].deliver(data)
            if number == MESSAGES // 2:
                graph.server.drop_subscriptions("sales@example.com")
            time.sleep(0.005)
        _wait(lambda: not any(box.contents("Inbox") for box in boxes), seconds=240)
        assert len(graph.server.subscriptions) == 3, "the dropped subscription was created again"
        _wait(lambda: _nothing_waits(storage), seconds=240)
    stores = opened(storage)
    try:
        assert_all_stored(stores, letters)
        # Even numbers go to list0, which has a route; the others have none.
        expected = Counter(("first", "list0@example.com", identity(letters[n])) for n in range(0, MESSAGES, 2))
        assert results(stores) == expected
        assert recorded(stores, "unhandled") == Counter(identity(letters[n]) for n in range(1, MESSAGES, 2))
        assert not list(stores.blobs.list("duplicates/"))
    finally:
        stores.close()
    requests = graph.server.requests
    by_method = Counter(request.method for request in requests if request.mailbox)
    refused = sum(request.status in (429, 503) for request in requests)
    contents = sum(request.path.endswith("/$value") for request in requests)
    listings = by_method["GET"] - contents
    print(
        f"\n{sum(by_method.values()) / MESSAGES:.3f} requests a message: {contents} contents, "
        f"{by_method['POST']} deletions, {listings} listings, {refused} of all answered 429; "
        f"notifications: {graph.server.notifications_sent} sent, {graph.server.notifications_lost} lost"
    )
    assert graph.server.notifications_lost > MESSAGES // 30
    failed = sum(request.path.endswith("/$value") and request.status != 200 for request in requests)
    # A connection that the storage closes costs one repetition of the running batches.
    assert MESSAGES <= contents - failed <= MESSAGES * 1.2, "stored messages are not downloaded again"


def test_run_once_check_and_status_work_with_graph(graph: Graph, tmp_path: Path) -> None:
    box = graph.box("support@example.com", *[plain_mail(n, to="sales@example.com") for n in range(20)])
    box.deliver(plain_mail(100), unconvertible=True)
    values = {**graph.values(support="support@example.com"), "ROUTES__sales__ADDRESS": "sales@example.com"}
    settings = settings_file(tmp_path, f"folder:{tmp_path / 'mail'}", values)

    checked = mailroom("check", settings=settings)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "21 messages" in checked.stdout
    assert len(box.contents("Inbox")) == 21

    ran = mailroom("run-once", settings=settings)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert box.contents("Inbox") == [plain_mail(100)]
    status = mailroom("status", settings=settings)
    assert "only the timer polls support" in " ".join(status.stdout.split())

    asked = len(graph.request_lines("GET", "/$value"))
    assert mailroom("run-once", settings=settings).returncode == 0
    assert len(graph.request_lines("GET", "/$value")) == asked, "what cannot be read is not asked for again"
    assert mailroom("enable", "support", "--unreadable", settings=settings).returncode == 0
    graph.fault_plan.unconvertible.clear()
    assert mailroom("run-once", settings=settings).returncode == 0
    assert box.contents("Inbox") == []
    stores = opened(f"folder:{tmp_path / 'mail'}")
    assert len(list(stores.blobs.list("unreadable/"))) == 1
    assert_all_stored(stores, [*[plain_mail(n, to="sales@example.com") for n in range(20)], plain_mail(100)])
    stores.close()
    for output in (checked, ran, status):
        assert graph.app.secret not in output.stdout + output.stderr


def test_check_reports_a_missing_permission(graph: Graph, tmp_path: Path) -> None:
    graph.box("support@example.com", plain_mail(1))
    reader = graph.server.register(permissions={"Mail.Read"})
    values = graph.values(support="support@example.com")
    values |= {"MAILBOXES__support__CLIENT_ID": reader.client_id, "MAILBOXES__support__CLIENT_SECRET": reader.secret}
    settings = settings_file(tmp_path, f"folder:{tmp_path / 'mail'}", values)
    ran = mailroom("check", settings=settings)
    assert ran.returncode == 1
    assert "Mail.ReadWrite is missing" in ran.stdout


def test_check_proposes_aliases_if_it_may_read_the_directory(graph: Graph, tmp_path: Path) -> None:
    box = graph.box("production@example.com", plain_mail(1))
    box.add_aliases("Sales@Example.com", "info@example.com", "sip:production@example.com", "SPO:SPO_1@SPO_2")
    values = graph.values(production="production@example.com")
    values |= {f"ROUTES__{name}__ADDRESS": f"{name}@example.com" for name in ("production", "sales")}
    settings = settings_file(tmp_path, f"folder:{tmp_path / 'mail'}", values)

    graph.app.permissions = {"Mail.ReadWrite"}
    without = mailroom("check", settings=settings)
    assert without.returncode == 0, without.stdout + without.stderr
    output = " ".join(without.stdout.split())
    assert "the application permission User.Read.All is missing" in output
    assert "This permission is optional" in output
    assert "ALIASES=" not in output

    graph.app.permissions = {"Mail.ReadWrite", "User.Read.All"}
    ran = mailroom("check", settings=settings)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    output = " ".join(ran.stdout.split())
    assert "its aliases are sales@example.com, info@example.com" in output
    assert "set MAILBOXES__production__ALIASES=sales@example.com" in output
    assert "production@example.com has the route production, and sales@example.com have other routes" in output
    assert box.contents("Inbox") == [plain_mail(1)]


def test_1_3_check_reports_that_delete_moves_to_deleted_items(graph: Graph, tmp_path: Path) -> None:
    graph.server.cloud = "china"
    box = graph.box("support@example.com", plain_mail(1))
    values = graph.values(support="support@example.com")
    settings = settings_file(tmp_path, f"folder:{tmp_path / 'mail'}", values)
    checked = mailroom("check", settings=settings)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "delete moves messages to Deleted Items: localhost answers permanentDelete with" in " ".join(
        checked.stdout.split()
    )
    assert mailroom("run-once", settings=settings).returncode == 0
    assert box.contents("Deleted Items") == [plain_mail(1)]


def test_the_first_subscription_is_created_within_one_poll_interval(graph: Graph, tmp_path: Path) -> None:
    """On the worker engine with the polling of the Functions host; `renew_subscriptions` is never due."""
    graph.box("support@example.com")
    (port,) = free_ports(1)
    values = {
        **graph.values(support="support@example.com"),
        "AzureWebJobsStorage": f"folder:{tmp_path / 'mail'}",
        "POLL_SCHEDULE": "* * * * * *",
        "GRAPH_WEBHOOK_URL": f"http://127.0.0.1:{port}/api/graph_webhook",
        "GRAPH_CLIENT_STATE_KEY": STATE_KEY,
    }
    with running(values, port, tmp_path, renew_every=None, mode=AS_IN_AZURE):
        _wait(lambda: len(graph.server.subscriptions) == 1, seconds=30)


def test_check_names_the_folders_where_one_is_missing(graph: Graph, tmp_path: Path) -> None:
    box = graph.box("support@example.com")
    box.folder("Inbox/Signed/2026")
    values = {**graph.values(support="support@example.com"), "MAILBOXES__support__FOLDERS": "Nowhere;INBOX"}
    ran = CliRunner().invoke(cli, ["check", "--settings", str(settings_file(tmp_path, "folder:mail", values))])
    assert ran.exit_code == 1
    (wrong,) = [line for line in ran.stdout.splitlines() if line.startswith("WRONG")]
    assert wrong.startswith("WRONG mailbox support: the folder 'Nowhere' does not exist")
    assert "'Inbox'" in wrong.partition("; the folders there are ")[2]
    assert "ok    mailbox support, INBOX: signed in" in ran.stdout


def test_status_shows_missing_subscriptions(graph: Graph, tmp_path: Path) -> None:
    graph.box("support@example.com")
    values = {
        **graph.values(support="support@example.com"),
        "GRAPH_WEBHOOK_URL": "https://mail.example.com/api/graph_webhook",
        "GRAPH_CLIENT_STATE_KEY": STATE_KEY,
    }
    settings = settings_file(tmp_path, f"folder:{tmp_path / 'mail'}", values)
    ran = mailroom("status", settings=settings)
    assert "not subscribed, only the timer polls" in " ".join(ran.stdout.split())
    assert STATE_KEY not in ran.stdout + ran.stderr


def test_status_shows_when_a_subscription_ends(graph: Graph, tmp_path: Path) -> None:
    graph.box("support@example.com")
    (port,) = free_ports(1)
    values = {
        **graph.values(support="support@example.com"),
        "AzureWebJobsStorage": f"folder:{tmp_path / 'mail'}",
        "GRAPH_WEBHOOK_URL": f"http://127.0.0.1:{port}/api/graph_webhook",
        "GRAPH_CLIENT_STATE_KEY": STATE_KEY,
    }
    with running(values, port, tmp_path):
        _wait(lambda: len(graph.server.subscriptions) == 1)
        graph.box("support@example.com", plain_mail(1))
        _wait(lambda: not graph.box("support@example.com").contents("Inbox"))
    settings = settings_file(tmp_path, values["AzureWebJobsStorage"], values)
    ran = mailroom("status", settings=settings)
    (subscription,) = graph.server.subscriptions
    assert f"{subscription.expires:%Y-%m-%d %H:%M}" in ran.stdout
    assert "not subscribed" not in ran.stdout


def _nothing_waits(storage: str) -> bool:
    stores = opened(storage)
    try:
        return not any(True for _ in stores.records.scan(Table.OUTBOX))
    finally:
        stores.close()


def _wait(met: Callable[[], bool], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < until, "the condition was not met in time"
        time.sleep(0.2)
