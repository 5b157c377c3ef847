"""Content decoded in pieces equals content decoded at once, wherever it is split (RFC 2045 section 6)."""

import base64
import binascii
import random

import pytest

from shared.mime.defects import Defects
from shared.mime.transfer_encoding import decode_pieces


def read(pieces: list[bytes], encoding: str) -> tuple[bytes, set[str]]:
    defects = Defects()
    return b"".join(decode_pieces(pieces, encoding, defects)), set(defects.as_tuple())


@pytest.mark.parametrize("encoding", ["base64", "quoted-printable", "x-uuencode"])
def test_7_6_pieces_may_be_split_anywhere(encoding: str) -> None:
    source = random.Random(3)
    for _ in range(2_000):
        content = source.randbytes(source.randrange(45))
        data = bytearray(
            {
                "base64": base64.encodebytes(content) * source.choice([1, 1, 2]),
                "quoted-printable": binascii.b2a_qp(content),
                "x-uuencode": b"begin 644 x\n" + binascii.b2a_uu(content) * source.choice([1, 2]) + b"`\nend\n",
            }[encoding]
        )
        for _ in range(source.choice([0, 0, 1, 3])):
            if data:
                data[source.randrange(len(data))] = source.choice(b"=\n\r !A\0\xff-_ \tM`")
        whole = read([bytes(data)], encoding)
        for size in (1, 3, 7, 50):
            assert (
                read([bytes(data[position : position + size]) for position in range(0, len(data), size)], encoding)
                == whole
            )
