"""Every error of the Azure SDKs is one of ours, by class and by what a server really answers."""

from __future__ import annotations

import email.utils
import importlib
import io
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import azure.core.exceptions as theirs
import pytest

from shared.errors import ServiceUnavailable, Throttled, TransientError
from shared.keys import digest
from shared.storage.azure import accounts
from shared.storage.azure.errors import Service, map_error
from shared.storage.base import QueueItem, QueueName, Storage, Table
from shared.storage.factory import open_storage
from shared.storage.location import StorageLocation
from tests.servers.answering import Answer, account_at, answering, endpoints_at
from tests.servers.azurite import KEY, free_ports

for _sdk in ("azure.storage.blob", "azure.storage.queue", "azure.data.tables", "azure.identity"):
    importlib.import_module(_sdk)  # their own classes count


def classes(base: type[Exception]) -> Iterator[type[Exception]]:
    yield base
    for one in base.__subclasses__():
        yield from classes(one)


@pytest.mark.parametrize("kind", sorted(set(classes(theirs.AzureError)), key=str), ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("service", Service)
def test_every_class_maps(kind: type[Any], service: Service) -> None:
    error: Any = Exception.__new__(kind)  # each has a way of its own to be made; what they share is what is read
    base = theirs.HttpResponseError if issubclass(kind, theirs.HttpResponseError) else theirs.AzureError
    base.__init__(error, "first line\nRequestId:1\nsecret in the third")
    ours = map_error(error, "MAIL_STORAGE", service)
    assert isinstance(ours, ServiceUnavailable)
    assert str(ours).startswith("MAIL_STORAGE: the ")
    assert "secret" not in str(ours)


ITEM = QueueItem("1", "receipt", "x", 1, None)  # type: ignore[arg-type]  # the time is not asked for
TOKEN = "00000000-0000-0000-0000-000000000000"

WORK: dict[str, tuple[Service, Callable[[Storage], object]]] = {
    "create": (Service.BLOB, lambda stores: stores.blobs.create("a/b", b"x", content_type="a/b")),
    "create large": (Service.BLOB, lambda stores: stores.blobs.create("a", bytes(5_000_000), content_type="a/b")),
    "read": (Service.BLOB, lambda stores: stores.blobs.read("a/b")),
    "download": (Service.BLOB, lambda stores: stores.blobs.download("a/b", io.BytesIO())),
    "exists": (Service.BLOB, lambda stores: stores.blobs.exists("a/b")),
    "list": (Service.BLOB, lambda stores: list(stores.blobs.list())),
    "get": (Service.TABLE, lambda stores: stores.records.get(Table.CLAIMS, digest("x"))),
    "get many": (Service.TABLE, lambda stores: stores.records.get_many(Table.CLAIMS, [digest("x"), digest("y")])),
    "insert": (Service.TABLE, lambda stores: stores.records.create(Table.CLAIMS, digest("x"), {"a": 1})),
    "merge": (Service.TABLE, lambda stores: stores.records.merge(Table.CLAIMS, digest("x"), {"a": 1})),
    "merge if": (Service.TABLE, lambda stores: stores.records.merge(Table.CLAIMS, digest("x"), {"a": 1}, etag="W/1")),
    "scan": (Service.TABLE, lambda stores: list(stores.records.scan(Table.CLAIMS))),
    "put": (Service.QUEUE, lambda stores: stores.queues[QueueName.POLLS].put_many(["x", "y"])),
    "receive": (Service.QUEUE, lambda stores: stores.queues[QueueName.POLLS].receive(1, hidden_for=60)),
    "delete": (Service.QUEUE, lambda stores: stores.queues[QueueName.POLLS].delete(ITEM)),
    "release": (Service.QUEUE, lambda stores: stores.queues[QueueName.POLLS].release(ITEM)),
    "length": (Service.QUEUE, lambda stores: stores.queues[QueueName.POLLS].length()),
    "acquire": (Service.BLOB, lambda stores: stores.leases.acquire("x", 60)),
    "renew": (Service.BLOB, lambda stores: stores.leases.renew("x", TOKEN)),
    "let go": (Service.BLOB, lambda stores: stores.leases.release("x", TOKEN)),
}

work_of_each_kind = pytest.mark.parametrize(("service", "work"), WORK.values(), ids=WORK)


@contextmanager
def stores_at(connection_string: str) -> Iterator[Storage]:
    address = StorageLocation.parse(connection_string, setting="MAIL_STORAGE")
    stores = open_storage(address, address, "mail")
    try:
        yield stores
    finally:
        stores.close()


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts, "MAX_RETRY_DELAY", 0.001)
    for setting in ("initial_backoff", "increment_base", "random_jitter_range"):
        monkeypatch.setitem(accounts.STORAGE_RETRIES, setting, 0)


@work_of_each_kind
def test_denied_names_the_setting_and_the_role(service: Service, work: Callable[[Storage], object]) -> None:
    denied = Answer(403, {"x-ms-error-code": "AuthorizationPermissionMismatch"})
    with answering(denied) as account, stores_at(account) as stores:
        with pytest.raises(ServiceUnavailable) as caught:
            work(stores)
        assert not isinstance(caught.value, Throttled)
        assert str(caught.value).startswith(f"MAIL_STORAGE: the {service} service denied access")
        assert f"Storage {service} Data Contributor" in str(caught.value)
        assert KEY not in str(caught.value)
        assert caught.value.__cause__ is None


@work_of_each_kind
@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.usefixtures("no_pauses")
def test_too_much_says_for_how_long(service: Service, work: Callable[[Storage], object], status: int) -> None:
    busy = Answer(status, {"Retry-After": "17", "x-ms-error-code": "ServerBusy"})
    with answering(busy) as account, stores_at(account) as stores:
        with pytest.raises(Throttled, match=f"the {service} service is throttling requests") as caught:
            work(stores)
        assert caught.value.retry_after == 17


@pytest.mark.parametrize(("seconds", "least"), [(1000, 700), (-1000, 0)], ids=["in the future", "in the past"])
@pytest.mark.usefixtures("no_pauses")
def test_retry_after_may_be_a_date(seconds: int, least: int) -> None:
    date = email.utils.formatdate(time.time() + seconds, usegmt=True)
    with answering(Answer(503, {"Retry-After": date})) as account, stores_at(account) as stores:
        with pytest.raises(Throttled) as caught:
            stores.blobs.read("a")
        assert caught.value.retry_after is not None
        assert least <= caught.value.retry_after <= max(seconds, 0)


def test_retries_are_few_and_short() -> None:
    for _, work in (WORK["create"], WORK["insert"], WORK["put"]):
        asked: list[str] = []

        def busy(method: str, path: str, asked: list[str] = asked) -> Answer:
            asked.append(method)
            return Answer(503, {"Retry-After": "600"})

        began = time.monotonic()
        with answering(busy) as account, stores_at(account) as stores, pytest.raises(Throttled):
            work(stores)
        assert len(asked) == 3
        assert time.monotonic() - began < 60, "the 600 seconds were not waited for"


@pytest.mark.parametrize(
    ("service", "work", "code"),
    [
        (*WORK[name], code)
        for name in WORK
        for code in ("", "ResourceNotFound", "AccountNotFound")
        # which is what the table service says of a record that is not there
        if code != "ResourceNotFound" or name not in {"get", "get many", "merge if"}
    ],
)
@pytest.mark.usefixtures("no_pauses")
def test_an_account_that_is_not_there_is_not_an_answer(
    service: Service, work: Callable[[Storage], object], code: str
) -> None:
    """Neither "no such blob" nor "not held": nothing is known."""
    headers = {"x-ms-error-code": code} if code else {}
    with answering(Answer(404, headers)) as account, stores_at(account) as stores:
        with pytest.raises(ServiceUnavailable, match=rf"MAIL_STORAGE: the {service} service.*404") as caught:
            work(stores)
        assert "check that MAIL_STORAGE names the right account" in str(caught.value)


@pytest.mark.parametrize(("service", "work"), [WORK[name] for name in WORK if name != "list"])
@pytest.mark.parametrize(
    "code", ["ContainerBeingDeleted", "QueueBeingDeleted", "TableBeingDeleted", "BlobImmutableDueToPolicy", "Unheard"]
)
def test_8_1_a_conflict_of_another_kind_is_not_taken_for_there_already(
    service: Service, work: Callable[[Storage], object], code: str
) -> None:
    """`create` that gives False would let the message be removed from its mailbox."""

    def answers(method: str, path: str) -> Answer:
        making = "restype=container" in path or path.endswith("/Tables") or (method == "PUT" and path == "/some/polls")
        if making:
            return Answer(201)
        return Answer(409, {"x-ms-error-code": code, "Content-Type": "application/json"})

    with (
        answering(answers) as account,
        stores_at(account) as stores,
        pytest.raises(TransientError, match="MAIL_STORAGE"),
    ):
        work(stores)


@work_of_each_kind
@pytest.mark.usefixtures("no_pauses")
def test_nobody_there(service: Service, work: Callable[[Storage], object]) -> None:
    with stores_at(account_at(free_ports(1)[0])) as stores, pytest.raises(ServiceUnavailable) as caught:
        work(stores)
    assert str(caught.value).startswith(f"MAIL_STORAGE: the {service} service cannot be reached (")
    assert "Connection refused" in str(caught.value)


@work_of_each_kind
@pytest.mark.usefixtures("no_pauses")
def test_a_signature_in_the_address_is_not_shown(service: Service, work: Callable[[Storage], object]) -> None:
    signature = "sv=2024-01-01&ss=bqt&srt=sco&sp=rwdl&se=2030-01-01&sig=hush%2Bhush%3D"
    account = f"AccountName=some;SharedAccessSignature={signature};{endpoints_at(free_ports(1)[0])}"
    with stores_at(account) as stores, pytest.raises(ServiceUnavailable) as caught:
        work(stores)
    assert "hush" not in str(caught.value)
    assert "hush" not in repr(StorageLocation.parse(account, setting="MAIL_STORAGE"))


@pytest.mark.usefixtures("no_pauses")
def test_an_account_whose_name_is_not_known() -> None:
    host = "nobody.invalid"
    account = f"AccountName=some;AccountKey={KEY};BlobEndpoint=http://{host};QueueEndpoint=http://{host};TableEndpoint=http://{host}"
    with stores_at(account) as stores, pytest.raises(ServiceUnavailable, match="check the account's name in MAIL_STO"):
        stores.blobs.read("a")


@work_of_each_kind
def test_a_key_that_is_none(service: Service, work: Callable[[Storage], object]) -> None:
    account = f"AccountName=some;AccountKey=hush+not+base64;{endpoints_at(free_ports(1)[0])}"
    with stores_at(account) as stores, pytest.raises(ServiceUnavailable, match="check the key") as caught:
        work(stores)
    assert "hush" not in str(caught.value)
