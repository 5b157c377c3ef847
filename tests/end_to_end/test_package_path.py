"""The deployed package runs by itself: IMAP, POP3 and Graph, from the mailbox to the result."""

from __future__ import annotations

import json
import shutil
import subprocess
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from shared.documents.blob_paths import raw_path
from shared.mailboxes.graph.requests import MailboxRequests, SubscriptionRequests
from shared.storage.base import Table
from tests.end_to_end.command import identity, mailboxes, opened, results
from tests.servers.azurite import free_ports
from tests.servers.dovecot import Dovecot
from tests.servers.graph import STATE_KEY, Graph
from tests.servers.mail import plain_mail
from tools.package import PYTHON, ROOT, SITE_PACKAGES, WORKER_ENGINE, app_files, build, dependencies, find_python
from tools.prune import App

DRIVER = Path(__file__).with_name("package_driver.py")


@dataclass(frozen=True)
class Package:
    """The unpacked package, and a virtual environment of Python 3.13 that has nothing else, not even pip."""

    app: Path
    python: Path


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Package]:
    folder = tmp_path_factory.mktemp("package")
    subprocess.run([find_python(), "-m", "venv", "--without-pip", str(folder / "venv")], check=True)
    assert not list(folder.glob("venv/lib/python*/site-packages/*"))
    build(folder / "package.zip", packages=dependencies())
    with zipfile.ZipFile(folder / "package.zip") as archive:
        archive.extractall(folder / "app")
    yield Package(folder / "app", folder / "venv/bin/python")
    shutil.rmtree(folder)


def run(package: Package, folder: Path, values: dict[str, str], **options: Any) -> dict[str, Any]:
    """Run the driver on an unpacked package and return its report."""
    host = folder / "host"
    shutil.copytree(ROOT / "functions_host", host / "functions_host", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(DRIVER, host / DRIVER.name)
    ran = subprocess.run(
        [str(package.python), "-B", str(host / DRIVER.name), json.dumps({**options, "modules": app_imports()})],
        cwd=package.app,
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder), "PYTHONPATH": str(package.app / SITE_PACKAGES), **values},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-6000:]
    [report] = [line for line in ran.stdout.splitlines() if line.startswith("REPORT ")]
    loaded: dict[str, Any] = json.loads(report.removeprefix("REPORT "))
    return loaded


def app_imports() -> list[str]:
    """Return the modules that the app imports, those of functions included."""
    app = App(ROOT, [path for path in app_files() if path.suffix == ".py"])
    return sorted(app.imported_modules())


def public(requests: type) -> set[str]:
    return {f"{requests.__name__}.{name}" for name in vars(requests) if not name.startswith("_")}


def test_the_package_alone_drains_and_routes_imap_pop3_and_graph(
    package: Package, dovecot: Dovecot, graph: Graph, storage: str, tmp_path: Path
) -> None:
    letters = [plain_mail(number, to=f"list{number % 2}@example.com") for number in range(12)]
    imap, pop = dovecot.user(), dovecot.user()
    imap.deliver(letters[:3])
    pop.deliver(letters[3:6])
    support = graph.box("support@example.com", *letters[6:9])
    unreadable = plain_mail(99)
    support.deliver(unreadable, unconvertible=True)
    office = graph.box("office@example.com", *letters[9:12])
    graph.app.permissions = {"Mail.ReadWrite", "User.Read.All"}
    (port,) = free_ports(1)
    values = {
        **mailboxes(dovecot, imap=imap, pop=pop),
        **graph.values(support="support@example.com", office="office@example.com"),
        "MAILBOXES__office__AFTER": "keep",
        "AzureWebJobsStorage": storage,
        "GRAPH_WEBHOOK_URL": f"http://127.0.0.1:{port}/api/graph_webhook",
        "GRAPH_CLIENT_STATE_KEY": STATE_KEY,
        "ROUTES__first__ADDRESS": "list0@example.com",
        "ROUTES__second__ADDRESS": "list1@example.com",
        # Nothing listens there: the exporter starts, and its failure to send is not the app's.
        "APPLICATIONINSIGHTS_CONNECTION_STRING": (
            "InstrumentationKey=11111111-2222-3333-4444-555555555555;IngestionEndpoint=http://127.0.0.1:9/"
        ),
        "APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL": "true",
    }
    message = office.ids("Inbox")[0]
    report = run(package, tmp_path, values, port=port, message=message)

    assert report["exports"], "the exporter started"
    assert set(report["errors"].values()) == {""}, report["errors"]
    assert set(report["functions"]) == {
        *("poll_timer", "poll_mailbox", "route_message", "sweep", "renew_subscriptions", "graph_webhook")
    }
    assert imap.left() == pop.left() == []
    assert support.contents("Inbox") == [unreadable]
    stores = opened(storage)
    try:
        assert all(stores.blobs.read(raw_path(identity(data))) == data for data in letters)
        assert not list(stores.records.scan(Table.OUTBOX))
        routes = {0: ("first", "list0@example.com"), 1: ("second", "list1@example.com")}
        assert results(stores) == Counter((*routes[n % 2], identity(data)) for n, data in enumerate(letters))
        assert len(list(stores.blobs.list("unreadable/"))) == 1
    finally:
        stores.close()

    # Every request that the app can make was built by the pruned SDK, sent, and answered with success.
    assert set(report["requests"]) == public(MailboxRequests) | public(SubscriptionRequests)
    assert len(graph.server.subscriptions) == 2
    assert len(office.ids("Inbox")) == 2, "one of three messages was moved and deleted by the requests"

    # Nothing but the package, the driver and the standard library was imported.
    here = {str(package.app), str(tmp_path / "host")}
    library = f"python{PYTHON[0]}.{PYTHON[1]}"
    foreign = {
        name: file
        for name, file in report["files"].items()
        if file and not any(file.startswith(folder + "/") for folder in here) and f"/lib/{library}/" not in file
    }
    assert not foreign
    assert not any(
        "/site-packages/" in file for file in report["files"].values() if not file.startswith(str(package.app))
    )
    assert report["files"][WORKER_ENGINE].startswith(str(package.app / SITE_PACKAGES))


def test_a_missing_module_fails_the_path(package: Package, graph: Graph, tmp_path: Path) -> None:
    """The test above fails if pruning removes a module of the SDK that only one request imports."""
    app = tmp_path / "app"
    shutil.copytree(package.app, app)
    [lazy] = app.glob(f"{SITE_PACKAGES}/msgraph/generated/users/item/messages/item/permanent_delete/*_builder.py")
    lazy.unlink()
    shutil.rmtree(lazy.parent / "__pycache__", ignore_errors=True)
    office = graph.box("office@example.com", plain_mail(1))
    graph.app.permissions = {"Mail.ReadWrite", "User.Read.All"}
    (port,) = free_ports(1)
    values = {
        **graph.values(office="office@example.com"),
        "MAILBOXES__office__AFTER": "keep",
        "AzureWebJobsStorage": f"folder:{tmp_path / 'mail'}",
    }
    with pytest.raises(AssertionError, match=r"No module named 'msgraph.*permanent_delete"):
        run(Package(app, package.python), tmp_path, values, port=port, message=office.ids("Inbox")[0])
