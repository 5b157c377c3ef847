"""Removals over Microsoft Graph where the server lacks the action of `AFTER`, or refuses a message (rule 1.3)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

import httpx
import pytest

from shared.config import After
from shared.errors import AccessRefused, RemovalRefused
from tests.integration.test_graph_review import replace_responses
from tests.servers.graph import Graph
from tests.servers.mail import plain_mail

MAILS = [plain_mail(n) for n in range(8)]


def error(status: int, code: str, text: str = "") -> Callable[[], httpx.Response]:
    body = {"error": {"code": code, "message": text}}
    return lambda: httpx.Response(status, json=body)


NO_ACTION = [
    error(400, "BadRequest", "Resource not found for the segment 'permanentDelete'."),
    error(404, "BadRequest", "Resource not found for the segment 'permanentDelete'."),
    error(404, "ResourceNotFound", "Resource not found."),
    error(404, "UnknownError"),
    lambda: httpx.Response(404, text="<html>not found</html>"),
    error(405, "ErrorInvalidRequest", "The OData request is not supported."),
    lambda: httpx.Response(405),
    error(501, "NotImplemented", "not implemented"),
]


@pytest.mark.parametrize("answer", NO_ACTION)
def test_1_3_delete_uses_deleted_items_without_permanent_delete(
    graph: Graph, answer: Callable[[], httpx.Response], caplog: pytest.LogCaptureFixture
) -> None:
    box = graph.box("support@example.com", *MAILS)
    requested: list[str] = []

    def counted() -> httpx.Response:
        requested.append("")
        return answer()

    with graph.open() as mailbox:
        replace_responses(mailbox, lambda path: path.endswith("/permanentDelete"), counted)
        rights = mailbox.check_folder("INBOX")
        with caplog.at_level(logging.WARNING):
            mailbox.remove(mailbox.list("INBOX"))
    assert box.contents("Inbox") == box.purged == []
    assert sorted(box.contents("Deleted Items")) == sorted(MAILS)
    assert len(requested) <= 1 + 4, "once by the check, and by the concurrent removals"
    assert caplog.text.count("go to Deleted Items") == 1
    assert rights.problems == ()
    (note,) = rights.notes
    assert note.startswith("delete moves messages to Deleted Items: localhost answers permanentDelete with HTTP 4") or (
        "HTTP 501" in note
    )


def test_1_3_a_cloud_without_permanent_delete_is_not_probed(graph: Graph) -> None:
    graph.server.cloud = "china"
    box = graph.box("support@example.com", *MAILS)
    with graph.open(host="microsoftgraph.chinacloudapi.cn") as mailbox:
        (note,) = mailbox.check_folder("INBOX").notes
        mailbox.remove(mailbox.list("INBOX"))
    assert len(box.contents("Deleted Items")) == len(MAILS)
    assert not graph.request_lines("POST", "/permanentDelete")
    assert "microsoftgraph.chinacloudapi.cn does not have permanentDelete" in note


@pytest.mark.parametrize("answer", [error(404, "ErrorItemNotFound"), error(404, "ErrorMessageNotFound")])
def test_8_2_a_missing_message_does_not_mean_a_missing_action(
    graph: Graph, answer: Callable[[], httpx.Response]
) -> None:
    box = graph.box("support@example.com", *MAILS[:2])
    gone = box.ids("Inbox")[0]
    with graph.open() as mailbox:
        replace_responses(mailbox, lambda path: gone in path and path.endswith("/permanentDelete"), answer)
        mailbox.remove(mailbox.list("INBOX"))
        assert mailbox.check_folder("INBOX").notes == ()
    assert box.purged == [MAILS[1]]
    assert box.contents("Deleted Items") == []


def test_8_2_an_ambiguous_404_is_resolved_by_a_request_for_the_message(graph: Graph) -> None:
    box = graph.box("support@example.com", *MAILS[:2])
    with graph.open() as mailbox:
        listed = mailbox.list("INBOX")
        replace_responses(mailbox, lambda path: path.endswith("/permanentDelete"), error(404, "UnknownError"))
        box.delete(box.ids("Inbox")[0])
        box.delete(box.ids("Deleted Items")[0])
        mailbox.remove(listed)
    assert box.contents("Inbox") == []
    assert box.contents("Deleted Items") == [MAILS[1]]


@pytest.mark.parametrize(("status", "code"), [(500, "InternalServerError"), (409, "ErrorIrresolvableConflict")])
def test_1_3_another_refusal_does_not_use_deleted_items(graph: Graph, status: int, code: str) -> None:
    box = graph.box("support@example.com", *MAILS[:2])
    with graph.open() as mailbox:
        replace_responses(mailbox, lambda path: path.endswith("/permanentDelete"), error(status, code))
        with pytest.raises(RemovalRefused, match="MAILBOXES__support__AFTER"):
            mailbox.remove(mailbox.list("INBOX"))
    assert len(box.contents("Inbox")) == 2


@pytest.mark.parametrize("after", [After.DELETE, After.TRASH])
def test_1_8_a_refused_removal_does_not_stop_the_others(graph: Graph, after: After) -> None:
    box = graph.box("support@example.com", *MAILS)
    kept = box.ids("Inbox")[0]
    with graph.open(after=after) as mailbox:
        replace_responses(mailbox, lambda path: kept in path, error(403, "ErrorAccessDenied"))
        with pytest.raises(RemovalRefused, match="1 of 8"):
            mailbox.remove(mailbox.list("INBOX"))
    assert box.ids("Inbox") == [kept]


def test_an_app_without_write_permission_is_refused_access(graph: Graph) -> None:
    box = graph.box("support@example.com", *MAILS)
    reader = replace(graph, app=graph.server.register(permissions={"Mail.Read"}))
    with reader.open() as mailbox, pytest.raises(AccessRefused, match=r"Mail\.ReadWrite"):
        mailbox.remove(mailbox.list("INBOX"))
    assert len(box.contents("Inbox")) == len(MAILS)
