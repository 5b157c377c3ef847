"""The servers that tests may request, the disk for their files, and the selection of tests."""

from __future__ import annotations

import gc
import logging
import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.sizes import SOAK

pytest_plugins = [
    "tests.servers.logs",
    "tests.servers.azurite",
    "tests.servers.dovecot",
    "tests.servers.authority",
    "tests.servers.graph",
    "tests.servers.courier",
    "tests.servers.cyrus",
    "tests.servers.mailutils",
    "tests.servers.postfix",
    "tests.servers.wildduck",
    "tests.servers.hoodiecrow",
]

RAM_DISK = Path("/dev/shm")
MIN_FREE_BYTES = 2_000_000_000
"""Free bytes that the RAM disk needs: several messages of 100 MB exist at the same time."""

SERVERS = {
    "azurite",
    "azure_storage",
    "courier",
    "cyrus",
    "dovecot",
    "dovecots",
    "hoodiecrow",
    "mailutils",
    "postfix",
    "wildduck",
}
"""Fixtures that start a program which `tools/servers.sh` installs."""


SLOW = (
    "tests/contract/test_azure_errors.py",
    "tests/contract/test_storage_hints.py",
    "tests/end_to_end/",
    "tests/infra/compiled/",
    "tests/infra/test_queries.py",
    "tests/integration/test_arrival_faults.py",
    "tests/integration/test_batch_claims.py",
    "tests/integration/test_claim_transactions.py",
    "tests/integration/test_exporter.py",
    "tests/integration/test_faults",
    "tests/integration/test_unfinished_claims.py",
    "tests/integration/test_erasure_batches.py",
    "tests/integration/test_erasure_crashes.py",
    "tests/integration/test_graph_",
    "tests/integration/test_growth",
    "tests/integration/test_intake_limits.py",
    "tests/integration/test_interleavings.py",
    "tests/integration/real_servers/",
    "tests/integration/test_html_words.py",
    "tests/integration/test_hostile_stored.py",
    "tests/integration/test_large_messages.py",
    "tests/integration/test_document_schemas.py",
    "tests/integration/test_limits.py",
    "tests/integration/test_originals.py",
    "tests/integration/test_other_readers.py",
    "tests/integration/test_pop3_scripted.py",
    "tests/integration/test_pop3_pipelining.py",
    "tests/integration/test_replay_faults.py",
    "tests/integration/test_replay_tries.py",
    "tests/integration/test_route_batch_faults.py",
    "tests/integration/test_route_batches.py",
    "tests/integration/test_same_message_id.py",
    "tests/integration/test_sign_in",
    "tests/integration/test_simulator_sdk.py",
    "tests/integration/test_undelivered.py",
    "tests/integration/test_unreadable.py",
    "tests/integration/test_wrong_port.py",
    "tests/unit/mime/test_hostile",
    "tests/unit/mime/test_mutation.py",
    "tests/unit/mime/test_report_fields.py",
)
"""Tests that need no server but that `make test-fast` omits: they start processes, wait, or repeat a run often.

Each is the beginning of the paths of files.
"""


def use_ram_disk() -> None:
    """Put temporary files on a RAM disk if one exists, unless TMPDIR names another folder.

    A flush (fsync) costs milliseconds on a disk and nothing in memory. Tests of durability observe the calls.
    Worker processes of pytest-xdist inherit the variable.
    """
    if "TMPDIR" in os.environ or not os.access(RAM_DISK, os.W_OK | os.X_OK):
        return
    # Docker mounts a small RAM disk on which programs cannot run.
    if os.statvfs(RAM_DISK).f_flag & os.ST_NOEXEC or shutil.disk_usage(RAM_DISK).free < MIN_FREE_BYTES:
        return
    os.environ["TMPDIR"] = str(RAM_DISK)
    tempfile.tempdir = None


use_ram_disk()


def use_small_trust_store() -> None:
    """Replace the machine's root certificates by one certificate, in this process and in all that it starts.

    Loading the usual 150 root certificates takes 25 ms of CPU time for each TLS context, and a session has several.
    No test connects to a public server.
    """
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        os.environ.pop(name, None)
    os.environ["SSL_CERT_FILE"] = str(Path(__file__).with_name("servers") / "trust_store.pem")
    os.environ["SSL_CERT_DIR"] = os.devnull


use_small_trust_store()

# The tests start hundreds of processes. Compiling the same modules in each would take longer than running them.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# All workers of pytest-xdist must collect the same tests: the order of a set in a test's id depends on this seed.
HASH_SEED = os.environ.setdefault("PYTHONHASHSEED", str(random.randrange(1, 2**32)))

hypothesis.settings.register_profile("usual", max_examples=40, deadline=None, print_blob=True)
hypothesis.settings.register_profile("soak", max_examples=2_000, deadline=None, print_blob=True)
hypothesis.settings.load_profile("soak" if SOAK else "usual")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option of `make test-fast`."""
    parser.addoption("--fast", action="store_true", help="run only tests that need no server and are not slow")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not import the slow test files for `--fast`: importing and collecting them takes seconds in each worker."""
    if not config.getoption("fast") or not collection_path.is_relative_to(config.rootpath):
        return None
    path = collection_path.relative_to(config.rootpath).as_posix()
    return True if f"{path}/".startswith(SLOW) else None


def pytest_make_parametrize_id(val: object) -> str | None:
    """Name a set in a test's id by its sorted elements.

    All workers of pytest-xdist must collect the same ids. The order of a set depends on the hash seed, and also on
    whether a worker compiled the file or read it from the cache.
    """
    if isinstance(val, set | frozenset):
        return "{" + ", ".join(sorted(map(repr, val))) + "}"
    return None


def pytest_report_header() -> str:
    """Return the variables that reproduce this run."""
    return f"PYTHONHASHSEED={HASH_SEED} TMPDIR={tempfile.gettempdir()} MAILROOM_SOAK={int(SOAK) or ''}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the tests that need a server or are slow, and deselect the tests that only `make test-soak` runs."""
    for item in items:
        if needs_server(item):
            item.add_marker("servers")
        if item.nodeid.startswith(SLOW):
            item.add_marker("slow")
    excluded = set() if SOAK else {"soak"}
    if config.getoption("fast"):
        excluded |= {"servers", "slow"}
    deselected = [item for item in items if not excluded.isdisjoint(marker.name for marker in item.iter_markers())]
    if deselected:
        config.hook.pytest_deselected(items=deselected)
        items[:] = [item for item in items if excluded.isdisjoint(marker.name for marker in item.iter_markers())]


def pytest_collection_finish() -> None:
    """Exclude modules and collected tests from garbage collection, which would visit them again in most tests."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def log_level_as_before() -> Iterator[None]:
    """Restore the level of the logger `mailroom`, which commands in this process set for all later tests."""
    logger = logging.getLogger("mailroom")
    level = logger.level
    yield
    logger.setLevel(level)


def needs_server(item: pytest.Item) -> bool:
    """Return whether a test starts a program which `tools/servers.sh` installs."""
    callspec = getattr(item, "callspec", None)
    if callspec is not None and callspec.params.get("storage") == "azure":
        return True
    return not SERVERS.isdisjoint(getattr(item, "fixturenames", ()))
