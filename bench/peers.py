"""Simple clients that drain a mailbox, for comparison, and the limits of wire and disk.

All of them save a message in the same way: they write a new file and sync it to disk before they delete the message.
"""

from __future__ import annotations

import imaplib
import itertools
import os
import poplib
import re
import socket
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from imapclient import IMAPClient

HOST = "127.0.0.1"
BATCH, BATCH_BYTES = 100, 4 * 1024 * 1024


class Target(NamedTuple):
    """The account to drain, and the target folder."""

    port: int
    username: str
    password: str
    folder: Path
    source: Path


def imaplib_one_by_one(target: Target) -> int:
    """Send FETCH and STORE for each message, and EXPUNGE at the end."""
    count = 0
    with imaplib.IMAP4(HOST, target.port) as client:
        client.login(target.username, target.password)
        client.select("INBOX")
        for uid in client.uid("SEARCH", "ALL")[1][0].split():
            answer = client.uid("FETCH", uid, "(BODY.PEEK[])")[1]
            save(target.folder / str(count), answer[0][1])
            client.uid("STORE", uid, "+FLAGS.SILENT", r"(\Deleted)")
            count += 1
        client.expunge()
    return count


def imapclient_in_batches(target: Target) -> int:
    """Send FETCH and STORE for each hundred messages, and EXPUNGE at the end."""
    count = 0
    with IMAPClient(HOST, target.port, ssl=False) as client:
        client.login(target.username, target.password)
        client.select_folder("INBOX")
        uids = client.search()
        for start in range(0, len(uids), BATCH):
            batch = uids[start : start + BATCH]
            for answer in client.fetch(batch, ["BODY.PEEK[]"]).values():
                save(target.folder / str(count), answer[b"BODY[]"])
                count += 1
            client.delete_messages(batch, silent=True)
        client.expunge()
    return count


def poplib_one_by_one(target: Target) -> int:
    """Send RETR and DELE for each message."""
    client = poplib.POP3(HOST, target.port)
    client.user(target.username)
    client.pass_(target.password)
    count = client.stat()[0]
    for number in range(1, count + 1):
        save(target.folder / str(number), b"\r\n".join([*client.retr(number)[1], b""]))
        client.dele(number)
    client.quit()
    return count


def pipelined(target: Target) -> int:
    """Drain with a bare socket and two FETCH commands in flight, without error handling: the reference for IMAP."""
    with socket.create_connection((HOST, target.port)) as sock, sock.makefile("rb", 1 << 18) as stream:
        tags = itertools.count(1)

        def send(*commands: str) -> bytes:
            numbered = [f"t{next(tags)} {command}\r\n" for command in commands]
            sock.sendall("".join(numbered).encode())
            return numbered[-1].split()[0].encode() + b" "

        def until(tag: bytes) -> Iterator[bytes]:
            while not (line := stream.readline()).startswith(tag):
                yield line

        list(until(send(f'LOGIN "{target.username}" "{target.password}"', "SELECT INBOX")))
        pattern = re.compile(rb"UID (\d+) RFC822\.SIZE (\d+)")
        sizes = [
            match.groups() for line in until(send("UID FETCH 1:* (RFC822.SIZE)")) if (match := pattern.search(line))
        ]
        batches = _batches([(int(uid), int(size)) for uid, size in sizes])
        fetches = iter([f"UID FETCH {_set(batch)} (UID BODY.PEEK[])" for batch in batches])
        waiting = [send(fetch) for fetch in itertools.islice(fetches, 2)]
        count = 0
        for batch in batches:
            for line in until(waiting.pop(0)):
                if line.endswith(b"}\r\n"):
                    save(target.folder / str(count), stream.read(int(line[line.rindex(b"{") + 1 : -3])))
                    count += 1
            waiting += [send(fetch) for fetch in itertools.islice(fetches, 1)]
            # No wait for the responses: they are skipped while the next batch is read.
            send(f"UID STORE {_set(batch)} +FLAGS.SILENT (\\Deleted)")
        list(until(send("EXPUNGE", "LOGOUT")))
    return count


def wire_only(target: Target) -> int:
    """Fetch everything with one command, discard it and delete nothing: the limit of the server."""
    count = 0
    with socket.create_connection((HOST, target.port)) as sock, sock.makefile("rb", 1 << 18) as stream:
        sock.sendall(f'a LOGIN "{target.username}" "{target.password}"\r\nb SELECT INBOX\r\n'.encode())
        sock.sendall(b"c UID FETCH 1:* (BODY.PEEK[])\r\n")
        while not (line := stream.readline()).startswith(b"c "):
            if line.endswith(b"}\r\n"):
                stream.read(int(line[line.rindex(b"{") + 1 : -3]))
                count += 1
    return count


def files_only(target: Target) -> int:
    """Write and sync the same files in sixteen threads: the limit of the disk."""
    sources = list(target.source.iterdir())
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda source: save(target.folder / source.name, source.read_bytes()), sources))
    return len(sources)


def save(path: Path, data: bytes) -> None:
    """Write a new file and sync it to disk."""
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fdatasync(file.fileno())


def _batches(sized: Sequence[tuple[int, int]]) -> list[list[int]]:
    batches: list[list[int]] = []
    room = 0
    for uid, size in sized:
        if not batches or len(batches[-1]) >= BATCH or size > room:
            batches.append([])
            room = BATCH_BYTES
        batches[-1].append(uid)
        room -= size
    return batches


def _set(uids: Sequence[int]) -> str:
    return ",".join(map(str, uids))


PEERS: dict[str, Callable[[Target], int]] = {
    peer.__name__: peer
    for peer in (
        imaplib_one_by_one,
        imapclient_in_batches,
        poplib_one_by_one,
        pipelined,
        wire_only,
        files_only,
    )
}
"""The clients by name."""
