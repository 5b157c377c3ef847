"""One large message, a megabyte at a time (`BODY.PEEK[]<offset.count>`, RFC 3501 section 6.4.5), several on the wire.

The server's idea of the size is a hint: Exchange estimates. The message ends where the server has no more to give; a
short piece is its end only if the size agrees to the octet.
"""

from __future__ import annotations

from collections import deque

from shared.mailboxes.imap.wire import PIECE, Body, Command, Sink, Wire


class PartialFetch:
    """Reads a message in pieces.

    Args:
        wire: where nothing else is being downloaded.
        uid: the message's.
        told: its size as the server told it.
        width: pieces on the wire at once, from the second on: the first shows whether the server knows pieces.
    """

    def __init__(self, wire: Wire, uid: int, told: int, width: int) -> None:
        self._wire = wire
        self._uid = uid
        self._told = told
        self._width = width
        self._came: dict[int, bytes] = {}

    def take(self, body: Body) -> None:
        """A piece has come."""
        if body.uid == self._uid and body.origin is not None and (body.value is None or isinstance(body.value, bytes)):
            self._came[body.origin] = body.value or b""

    def read(self, sink: Sink) -> Command | None:
        """Read all of it into a sink, in order.

        Returns:
            None if all of it was read; else the command that brought no piece: the message is gone, or the server knows
            no pieces. What the sink has taken then is of no use.
        """
        total = offset = 0
        width = 1
        ended = False
        failed: Command | None = None
        flying: deque[tuple[int, Command]] = deque()
        while True:
            while not ended and len(flying) < width and (offset < self._told or not flying):
                text = b"UID FETCH %d (UID BODY.PEEK[]<%d.%d>)" % (self._uid, offset, PIECE)
                flying.append((offset, self._wire.send(text)[0]))
                offset += PIECE
            if not flying:
                return failed
            at, command = flying.popleft()
            self._wire.wait(command)
            piece = self._came.pop(at, None)
            if failed is not None:
                continue
            if piece is None or command.status != "OK":
                failed, ended = command, True
            elif at != total:
                # Behind a short piece. If there is anything here, that was not the end: go on from there, piecemeal.
                if piece:
                    ended, offset, width = False, total, 1
            else:
                sink.write(piece)
                total += len(piece)
                if len(piece) == PIECE:
                    width = self._width
                elif not piece or total == self._told:
                    ended = True
                else:
                    offset, width = total, 1
