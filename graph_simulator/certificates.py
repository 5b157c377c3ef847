"""A certificate for localhost, issued by a certificate authority that exists for one run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Certificate:
    """The PEM files of a server certificate.

    Attributes:
        ca_file: the CA's certificate, which clients must trust.
        certificate: the server's certificate.
        key: the server's private key.
    """

    ca_file: Path
    certificate: Path
    key: Path


def create_certificate(folder: Path) -> Certificate:
    """Create a CA and a certificate for localhost, and write their PEM files to a folder.

    Raises:
        OSError: the files cannot be written.
    """
    import trustme  # noqa: PLC0415  not needed by a simulator that is given its certificate

    folder.mkdir(parents=True, exist_ok=True)
    ca = trustme.CA()
    issued = ca.issue_cert("localhost")
    files = Certificate(folder / "ca.pem", folder / "server.pem", folder / "server.key")
    ca.cert_pem.write_to_path(files.ca_file)
    issued.cert_chain_pems[0].write_to_path(files.certificate)
    issued.private_key_pem.write_to_path(files.key)
    return files
