"""Build TNEF (MS-OXTNEF) as Outlook and Exchange do."""

from __future__ import annotations

import base64
import struct

BODY, MESSAGE_PROPERTIES, CODE_PAGE = 0x0002800C, 0x00069003, 0x00069007
RENDERING, TITLE, DATA, PROPERTIES = 0x00069002, 0x00018010, 0x0006800F, 0x00069005

LONG_NAME, SHORT_NAME, METHOD, MIME_TAG, CONTENT_ID, DATA_OBJECT = 0x3707, 0x3704, 0x3705, 0x370E, 0x3712, 0x3701
PR_BODY, PR_HTML, PR_RTF = 0x1000, 0x1013, 0x1009

FILE, OLE = 1, 2


def attribute(number: int, data: bytes, level: int = 2) -> bytes:
    return struct.pack("<BII", level, number, len(data)) + data + struct.pack("<H", sum(data) & 0xFFFF)


def value(data: bytes) -> bytes:
    return struct.pack("<I", len(data)) + data + b"\0" * (-len(data) % 4)


def text(number: int, content: str) -> bytes:
    """Return a Unicode property."""
    return struct.pack("<HHI", 0x1F, number, 1) + value(content.encode("utf-16-le") + b"\0\0")


def narrow(number: int, content: bytes) -> bytes:
    """Return a property in the message's code page."""
    return struct.pack("<HHI", 0x1E, number, 1) + value(content + b"\0")


def binary(number: int, content: bytes, kind: int = 0x102) -> bytes:
    return struct.pack("<HHI", kind, number, 1) + value(content)


def whole(number: int, content: int) -> bytes:
    return struct.pack("<HHi", 3, number, content)


def named(content: str) -> bytes:
    """Return a property with a name instead of a number."""
    return (
        struct.pack("<HH16sI", 0x1F, 0x8001, b"g" * 16, 1)
        + value("Keywords\0".encode("utf-16-le"))
        + b"".join((struct.pack("<I", 1), value(content.encode("utf-16-le"))))
    )


def several(number: int, *numbers: int) -> bytes:
    return struct.pack("<HHI", 0x1003, number, len(numbers)) + struct.pack(f"<{len(numbers)}i", *numbers)


def properties(*items: bytes) -> bytes:
    return struct.pack("<I", len(items)) + b"".join(items)


def attached(data: bytes | None, *items: bytes, title: bytes = b"", kind: int = FILE) -> bytes:
    result = attribute(RENDERING, struct.pack("<HIHHI", kind, 0xFFFFFFFF, 0, 0, 0))
    result += attribute(TITLE, title + b"\0") if title else b""
    result += attribute(DATA, data) if data is not None else b""
    return result + (attribute(PROPERTIES, properties(*items)) if items else b"")


def tnef(*attributes: bytes, code_page: int = 1252) -> bytes:
    start = attribute(0x00089006, struct.pack("<I", 0x10000), 1) + attribute(
        CODE_PAGE, struct.pack("<II", code_page, 0), 1
    )
    return struct.pack("<IH", 0x223E9F78, 1) + start + b"".join(attributes)


def message(content: bytes, body: str | None = "See the files.\n", name: str = "winmail.dat") -> bytes:
    """Return a message with a TNEF, which is its only part if it has no other text."""
    part = (
        f'Content-Type: application/ms-tnef; name="{name}"\nContent-Transfer-Encoding: base64\n\n'.encode()
        + base64.encodebytes(content)
    )
    if body is None:
        return b"Subject: x\n" + part
    head = f"Subject: x\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\n{body}\n--b\n"
    return head.encode() + part + b"--b--\n"


def uncompressed(rtf: bytes) -> bytes:
    return struct.pack("<II4sI", len(rtf) + 12, len(rtf), b"MELA", 0) + rtf
