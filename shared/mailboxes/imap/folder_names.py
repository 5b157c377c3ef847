"""Lists the names of a mailbox's folders (RFC 3501 section 6.3.8)."""

from __future__ import annotations

from imapclient import imap_utf7

from shared.mailboxes.imap.wire import Wire

NOT_SELECTABLE = frozenset({b"\\NOSELECT", b"\\NONEXISTENT"})
"""Attributes of a folder that cannot be opened, in upper case."""


def list_folder_names(wire: Wire) -> list[str]:
    """Return the names of the folders that can be opened, as the settings would spell them."""
    wire.wait_all_discarding()
    _, responses = wire.query(b'LIST "" "*"', b"LIST")
    names = []
    for response in responses:
        match response:
            case [list(attributes), _, bytes(raw), *_]:
                flags = {flag.upper() for flag in attributes if isinstance(flag, bytes)}
                if not flags & NOT_SELECTABLE:
                    names.append(str(imap_utf7.decode(raw)))
    return sorted(names, key=lambda name: (name.upper() != "INBOX", name))
