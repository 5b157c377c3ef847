"""Every error of the Azure SDKs is mapped, by class and by servers' real responses."""

from __future__ import annotations

import email.utils
import importlib
import io
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import azure.core.exceptions as sdk_errors
import pytest

from shared.errors import ServiceUnavailable, Throttled, TransientError
from shared.keys import digest
from shared.storage.azure import accounts
from shared.storage.azure.errors import Service, map_error
from shared.storage.base import Create, Delete, QueueItem, QueueName, Storage, Table
from shared.storage.factory import open_storage
from shared.storage.location import StorageLocation
from tests.servers.answering import Answer, account_at, answering, endpoints_at
from tests.servers.azurite import KEY, free_ports

for _sdk in ("azure.storage.blob", "azure.storage.queue", "azure.data.tables", "azure.identity"):
    importlib.import_module(_sdk)  # so that their error classes exist


def error_classes(base: type[Exception]) -> Iterator[type[Exception]]:
    yield base
    for subclass in base.__subclasses__():
        yield from error_classes(subclass)


@pytest.mark.parametrize(
    "kind", sorted(set(error_classes(sdk_errors.AzureError)), key=str), ids=lambda kind: kind.__name__
)
@pytest.mark.parametrize("service", Service)
def test_every_class_of_error_is_mapped(kind: type[Any], service: Service) -> None:
    error: Any = Exception.__new__(kind)  # the constructors differ; only the common attributes are read
    base = sdk_errors.HttpResponseError if issubclass(kind, sdk_errors.HttpResponseError) else sdk_errors.AzureError
    base.__init__(error, "first line\nRequestId:1\nsecret in the third")
    mapped = map_error(error, "MAIL_STORAGE", service)
    assert isinstance(mapped, ServiceUnavailable)
    assert str(mapped).startswith("MAIL_STORAGE: the ")
    assert "secret" not in str(mapped)


ITEM = QueueItem("1", "receipt", "x", 1, None)  # type: ignore[arg-type]  # the time is not used
TOKEN = "00000000-0000-0000-0000-000000000000"

OPERATIONS: dict[str, tuple[Service, Callable[[Storage], object]]] = {
    "create": (Service.BLOB, lambda stores: stores.blobs.create("a/b", b"x", content_type="a/b")),
    "create large": (Service.BLOB, lambda stores: stores.blobs.create("a", bytes(5_000_000), content_type="a/b")),
    "read": (Service.BLOB, lambda stores: stores.blobs.read("a/b")),
    "download": (Service.BLOB, lambda stores: stores.blobs.download("a/b", io.BytesIO())),
    "exists": (Service.BLOB, lambda stores: stores.blobs.exists("a/b")),
    "list": (Service.BLOB, lambda stores: list(stores.blobs.list())),
    "get": (Service.TABLE, lambda stores: stores.records.get(Table.CLAIMS, digest("x"))),
    "get many": (Service.TABLE, lambda stores: stores.records.get_many(Table.CLAIMS, [digest("x"), digest("y")])),
    "insert": (Service.TABLE, lambda stores: stores.records.create(Table.CLAIMS, digest("x"), {"a": 1})),
    "transaction": (
        Service.TABLE,
        lambda stores: stores.records.commit(
            [Create(Table.CLAIMS, digest("x"), {"a": 1}), Create(Table.CLAIMS, digest("y"), {"a": 1})]
        ),
    ),
    "single change": (Service.TABLE, lambda stores: stores.records.commit([Delete(Table.CLAIMS, digest("x"))])),
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
    "release lease": (Service.BLOB, lambda stores: stores.leases.release("x", TOKEN)),
}

each_operation = pytest.mark.parametrize(("service", "operation"), OPERATIONS.values(), ids=OPERATIONS)


@contextmanager
def storage_at(connection_string: str) -> Iterator[Storage]:
    location = StorageLocation.parse(connection_string, setting="MAIL_STORAGE")
    stores = open_storage(location, location, "mail")
    try:
        yield stores
    finally:
        stores.close()


@pytest.fixture
def no_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts, "MAX_RETRY_DELAY", 0.001)
    for setting in ("initial_backoff", "increment_base", "random_jitter_range"):
        monkeypatch.setitem(accounts.STORAGE_RETRIES, setting, 0)


@each_operation
def test_denied_access_names_the_setting_and_the_role(service: Service, operation: Callable[[Storage], object]) -> None:
    denied = Answer(403, {"x-ms-error-code": "AuthorizationPermissionMismatch"})
    with answering(denied) as account, storage_at(account) as stores:
        with pytest.raises(ServiceUnavailable) as caught:
            operation(stores)
        assert not isinstance(caught.value, Throttled)
        assert str(caught.value).startswith(f"MAIL_STORAGE: the {service} service denied access")
        assert f"Storage {service} Data Contributor" in str(caught.value)
        assert KEY not in str(caught.value)
        assert caught.value.__cause__ is None


@each_operation
@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.usefixtures("no_delays")
def test_a_throttled_request_has_retry_after(
    service: Service, operation: Callable[[Storage], object], status: int
) -> None:
    busy = Answer(status, {"Retry-After": "17", "x-ms-error-code": "ServerBusy"})
    with answering(busy) as account, storage_at(account) as stores:
        with pytest.raises(Throttled, match=f"the {service} service is throttling requests") as caught:
            operation(stores)
        assert caught.value.retry_after == 17


@pytest.mark.parametrize(("seconds", "least"), [(1000, 700), (-1000, 0)], ids=["in the future", "in the past"])
@pytest.mark.usefixtures("no_delays")
def test_retry_after_may_be_a_date(seconds: int, least: int) -> None:
    date = email.utils.formatdate(time.time() + seconds, usegmt=True)
    with answering(Answer(503, {"Retry-After": date})) as account, storage_at(account) as stores:
        with pytest.raises(Throttled) as caught:
            stores.blobs.read("a")
        assert caught.value.retry_after is not None
        assert least <= caught.value.retry_after <= max(seconds, 0)


def test_retries_are_limited() -> None:
    for _, operation in (OPERATIONS["create"], OPERATIONS["insert"], OPERATIONS["put"]):
        requests: list[str] = []

        def busy(method: str, path: str, requests: list[str] = requests) -> Answer:
            requests.append(method)
            return Answer(503, {"Retry-After": "600"})

        began = time.monotonic()
        with answering(busy) as account, storage_at(account) as stores, pytest.raises(Throttled):
            operation(stores)
        assert len(requests) == 3
        assert time.monotonic() - began < 60, "the SDK did not wait 600 seconds"


@pytest.mark.parametrize(
    ("service", "operation", "code"),
    [
        (*OPERATIONS[name], code)
        for name in OPERATIONS
        for code in ("", "ResourceNotFound", "AccountNotFound")
        # the table service returns this code for a missing record
        if code != "ResourceNotFound" or name not in {"get", "get many", "merge if"}
    ],
)
@pytest.mark.usefixtures("no_delays")
def test_a_missing_account_is_not_a_missing_blob(
    service: Service, operation: Callable[[Storage], object], code: str
) -> None:
    """The response means neither that the blob is missing nor that the lease is free."""
    headers = {"x-ms-error-code": code} if code else {}
    with answering(Answer(404, headers)) as account, storage_at(account) as stores:
        with pytest.raises(ServiceUnavailable, match=rf"MAIL_STORAGE: the {service} service.*404") as caught:
            operation(stores)
        assert "check that MAIL_STORAGE names the right account" in str(caught.value)


@pytest.mark.parametrize(("service", "operation"), [OPERATIONS[name] for name in OPERATIONS if name != "list"])
@pytest.mark.parametrize(
    "code", ["ContainerBeingDeleted", "QueueBeingDeleted", "TableBeingDeleted", "BlobImmutableDueToPolicy", "Unheard"]
)
def test_8_1_another_conflict_is_not_taken_for_an_existing_blob(
    service: Service, operation: Callable[[Storage], object], code: str
) -> None:
    """If `create` returned False, the message would be removed from its mailbox without being stored."""

    def answers(method: str, path: str) -> Answer:
        making = "restype=container" in path or path.endswith("/Tables") or (method == "PUT" and path == "/some/polls")
        if making:
            return Answer(201)
        return Answer(409, {"x-ms-error-code": code, "Content-Type": "application/json"})

    with (
        answering(answers) as account,
        storage_at(account) as stores,
        pytest.raises(TransientError, match="MAIL_STORAGE"),
    ):
        operation(stores)


@each_operation
@pytest.mark.usefixtures("no_delays")
def test_a_refused_connection(service: Service, operation: Callable[[Storage], object]) -> None:
    with storage_at(account_at(free_ports(1)[0])) as stores, pytest.raises(ServiceUnavailable) as caught:
        operation(stores)
    assert str(caught.value).startswith(f"MAIL_STORAGE: the {service} service cannot be reached (")
    assert "Connection refused" in str(caught.value)


@each_operation
@pytest.mark.usefixtures("no_delays")
def test_a_signature_in_the_connection_string_is_not_shown(
    service: Service, operation: Callable[[Storage], object]
) -> None:
    signature = "sv=2024-01-01&ss=bqt&srt=sco&sp=rwdl&se=2030-01-01&sig=hush%2Bhush%3D"
    account = f"AccountName=some;SharedAccessSignature={signature};{endpoints_at(free_ports(1)[0])}"
    with storage_at(account) as stores, pytest.raises(ServiceUnavailable) as caught:
        operation(stores)
    assert "hush" not in str(caught.value)
    assert "hush" not in repr(StorageLocation.parse(account, setting="MAIL_STORAGE"))


@pytest.mark.usefixtures("no_delays")
def test_an_unknown_host() -> None:
    host = "unknown.invalid"
    account = f"AccountName=some;AccountKey={KEY};BlobEndpoint=http://{host};QueueEndpoint=http://{host};TableEndpoint=http://{host}"
    with storage_at(account) as stores, pytest.raises(ServiceUnavailable, match="check the account's name in MAIL_STO"):
        stores.blobs.read("a")


@each_operation
def test_an_invalid_key(service: Service, operation: Callable[[Storage], object]) -> None:
    account = f"AccountName=some;AccountKey=hush+not+base64;{endpoints_at(free_ports(1)[0])}"
    with storage_at(account) as stores, pytest.raises(ServiceUnavailable, match="check the key") as caught:
        operation(stores)
    assert "hush" not in str(caught.value)


PART = "HTTP/1.1 {status} x\r\n\r\n" + '{{"odata.error":{{"code":"{code}","message":{{"value":"0:x"}}}}}}'


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([(503, "ServerBusy")], Throttled),
        ([(500, "InternalError")], ServiceUnavailable),
        ([(400, "InvalidInput")], ServiceUnavailable),
        ([(204, "")], ServiceUnavailable),  # of two operations
        ([], ServiceUnavailable),
        ([(204, ""), (500, "OperationTimedOut")], ServiceUnavailable),
        ([(413, "RequestBodyTooLarge")], ServiceUnavailable),
        ([(404, "TableNotFound")], ServiceUnavailable),
        ([(409, "TableBeingDeleted")], ServiceUnavailable),
        ([(412, "")], ServiceUnavailable),
        ([(409, "EntityAlreadyExists")], False),
        ([(404, "ResourceNotFound")], False),
        ([(404, "EntityNotFound")], False),
        ([(412, "UpdateConditionNotSatisfied")], False),
        ([(412, "ConditionNotMet")], False),
        ([(204, ""), (204, "")], True),
    ],
)
def test_the_response_to_a_transaction_counts_by_its_parts(
    parts: list[tuple[int, str]], expected: bool | type[ServiceUnavailable]
) -> None:
    body = "\r\n--changeset\r\n".join(["", *(PART.format(status=status, code=code) for status, code in parts)])
    executed = Answer(202, {"Content-Type": "multipart/mixed; boundary=batch"}, body.encode())
    _, transaction = OPERATIONS["transaction"]
    answers = answering(lambda _, path: executed if "batch" in path else Answer(204))
    with answers as account, storage_at(account) as stores:
        if isinstance(expected, bool):
            assert transaction(stores) is expected
            return
        with pytest.raises(expected) as caught:
            transaction(stores)
        assert type(caught.value) is expected
