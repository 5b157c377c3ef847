"""A POP3 server with PIPELINING, whose responses to commands that arrive together are correct or wrong, by test."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tests.servers.scripted import Peer, ScriptedPop3

Responder = Callable[[Sequence[bytes], Sequence[bytes]], bytes | None]
"""Returns the bytes to send for commands that arrived together and their correct responses; None: disconnect."""


def in_order(_commands: Sequence[bytes], answers: Sequence[bytes]) -> bytes:
    """Respond as RFC 2449 section 6.6 requires."""
    return b"".join(answers)


def within_the_message(_commands: Sequence[bytes], answers: Sequence[bytes]) -> bytes:
    """Send the next response's first line before the end of a message, as WildDuck did."""
    response, rest = b"", list(answers)
    while rest:
        answer = rest.pop(0)
        if answer.endswith(b"\r\n.\r\n") and rest:
            line, _, rest[0] = rest[0].partition(b"\r\n")
            answer = answer[:-40] + line + b"\r\n" + answer[-40:]
        response += answer
    return response


def first_only(_commands: Sequence[bytes], answers: Sequence[bytes]) -> bytes:
    """Discard the commands after the first one."""
    return answers[0]


def unknown_from_the_second(_commands: Sequence[bytes], answers: Sequence[bytes]) -> bytes:
    """Refuse every command except the first."""
    return answers[0] + b"-ERR no such message\r\n" * (len(answers) - 1)


def last_for_all(_commands: Sequence[bytes], answers: Sequence[bytes]) -> bytes:
    """Send the response to the last command for every command."""
    return answers[-1] * len(answers)


def backwards(_commands: Sequence[bytes], answers: Sequence[bytes]) -> bytes:
    """Respond in reverse order."""
    return b"".join(reversed(answers))


def one_in_two(_commands: Sequence[bytes], answers: Sequence[bytes]) -> bytes:
    """Send two messages at the same time, with alternating lines."""
    response = b""
    for start in range(0, len(answers), 2):
        pair = [answer.splitlines(keepends=True) for answer in answers[start : start + 2]]
        while any(pair):
            response += b"".join(lines.pop(0) for lines in pair if lines)
    return response


def cut_after_the_first(commands: Sequence[bytes], answers: Sequence[bytes]) -> bytes | None:
    """Disconnect clients that do not wait."""
    return answers[0] if len(commands) == 1 else None


class PipeliningPop3(ScriptedPop3):
    """A POP3 server that reads all available commands and responds to them together.

    Attributes:
        together: each sequence of commands that arrived together.
    """

    def __init__(
        self,
        messages: Sequence[tuple[str, bytes]],
        respond: Responder = in_order,
        *,
        size: Callable[[bytes], int] = len,
        capabilities: Sequence[bytes] = (b"USER", b"UIDL", b"TOP", b"PIPELINING"),
        greeting: bytes = b"+OK ready",
    ) -> None:
        self.together: list[Sequence[bytes]] = []
        self._mix = respond
        self._size = size
        super().__init__(messages, capabilities=capabilities, greeting=greeting)

    @property
    def retrieved(self) -> int:
        """The number of RETR commands."""
        return sum(command.startswith(b"RETR") for command in self.commands)

    def _converse(self, peer: Peer) -> None:
        peer.send(self.greeting)
        available = list(self.messages)
        deleted: set[int] = set()
        rest = b""
        while data := peer.connection.recv(1 << 20):
            *commands, rest = (rest + data).split(b"\r\n")
            self.commands += commands
            if len(commands) > 1:
                self.together.append(commands)
            answers = [self._answer(command, available, deleted) for command in commands]
            response = self._mix(commands, answers) if len(commands) > 1 else b"".join(answers)
            if response is None:
                peer.raw(answers[0][:-10])
                peer.cut()
            else:
                peer.raw(response)
            if b"QUIT" in commands:
                peer.cut()

    def _answer(self, command: bytes, available: Sequence[tuple[str, bytes]], deleted: set[int]) -> bytes:
        name, _, argument = command.partition(b" ")
        number = int(argument.split()[0]) if name in (b"RETR", b"DELE", b"TOP") else 0
        remaining = [(n, *available[n - 1]) for n in range(1, len(available) + 1) if n not in deleted]
        if name == b"QUIT":
            self.messages = [m for m in self.messages if m not in [available[n - 1] for n in deleted]]
            return b"+OK bye\r\n"
        if name == b"DELE":
            deleted.add(number)
            return b"+OK message %d deleted\r\n" % number
        if name in (b"RETR", b"TOP"):
            data = available[number - 1][1]
            if name == b"TOP":
                data = data.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
            stuffed = (b"\r\n" + data).replace(b"\r\n.", b"\r\n..")[2:]
            return b"+OK %d octets\r\n" % len(data) + stuffed + b".\r\n"
        if name == b"LIST":
            lines = [b"+OK", *(b"%d %d" % (n, self._size(data)) for n, _, data in remaining), b"."]
        else:
            lines = self._plain(name, remaining)
        return b"".join(line + b"\r\n" for line in lines)
