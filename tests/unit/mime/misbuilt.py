"""Build mail with malformed structure, and read it."""

import base64

from shared.mime.parser import Message, parse

PDF = b"%PDF-1.7 sample\n"
PDF_BASE64 = base64.b64encode(PDF).decode()
FILE = f"Content-Type: application/pdf; name=a.pdf\nContent-Transfer-Encoding: base64\n\n{PDF_BASE64}"
TEXT = "Content-Type: text/plain\n\nsee file"
HTML = "Content-Type: text/html\n\n<p>The pump is loud.</p>"


def multipart(*parts: str, kind: str = "multipart/mixed", boundary: str = "b", named: str | None = None) -> str:
    inner = "".join(f"--{boundary}\n{part}\n" for part in parts)
    return f'Content-Type: {kind}; boundary="{named or boundary}"\n\n{inner}--{boundary}--\n'


def message(source: str, charset: str = "utf-8") -> Message:
    """Parse a message with LF and with CRLF, which must give the same result."""
    source = f"From: kim@example.com\nSubject: sample\n{source}"
    read_lf, read_crlf = (parse(source.replace("\n", end).encode(charset)) for end in ("\n", "\r\n"))
    assert read_crlf.text == read_lf.text
    assert contents(read_crlf).keys() == contents(read_lf).keys()
    return read_lf


def contents(read_message: Message) -> dict[str, bytes]:
    return {attachment.name: b"".join(attachment.chunks()) for attachment in read_message.attachments}
