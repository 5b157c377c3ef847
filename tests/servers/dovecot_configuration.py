"""The configuration of a test's Dovecot."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def oauth2(folder: Path, issuer: str) -> str:
    """Return the configuration of OAuth: tokens are validated locally with a key."""
    return f"""\
introspection_mode = local
local_validation_key_dict = fs:posix:prefix={folder}/keys/
username_attribute = email
username_format = %n
issuers = {issuer}
"""


def configuration(
    folder: Path, ports: tuple[int, int, int, int], *, tls: bool, imap_capability: str, mechanisms: str, extra: str
) -> str:
    """Return `dovecot.conf` for a folder and the ports of IMAP, IMAPS, POP3 and POP3S."""
    imap, imaps, pop3, pop3s = ports
    capability = f"imap_capability = {imap_capability}\n" if imap_capability else ""
    ssl = f"ssl = yes\nssl_cert = <{folder}/tls/server.pem\nssl_key = <{folder}/tls/server.key" if tls else "ssl = no"
    return f"""\
base_dir = {folder}/run
state_dir = {folder}/state
instance_name = {folder.name}
log_path = {folder}/log/dovecot.log
protocols = imap pop3
listen = 127.0.0.1
{ssl}
disable_plaintext_auth = no
auth_mechanisms = {mechanisms}
auth_master_user_separator = *
auth_failure_delay = 0
auth_username_format = %Ln
mail_location = maildir:{folder}/mail/%n
first_valid_uid = 1
mail_max_userip_connections = 100
mail_fsync = optimized
shutdown_clients = yes
{capability}
passdb {{
  driver = passwd-file
  master = yes
  args = username_format=%u {folder}/masters
  result_success = continue
}}
passdb {{
  driver = passwd-file
  args = scheme=PLAIN username_format=%u {folder}/users
}}
passdb {{
  driver = oauth2
  mechanisms = xoauth2 oauthbearer
  args = {folder}/oauth2.conf.ext
}}
userdb {{
  driver = static
  args = uid=nobody gid=nogroup home={folder}/mail/%n allow_all_users=yes
}}
service imap-login {{
{_listener("imap", imap, ssl=False)}
{_listener("imaps", imaps if tls else 0, ssl=True)}
}}
service pop3-login {{
{_listener("pop3", pop3, ssl=False)}
{_listener("pop3s", pop3s if tls else 0, ssl=True)}
}}
service anvil {{
  client_limit = 1200
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service auth {{
  client_limit = 1200
}}
protocol imap {{
  mail_plugins = imap_zlib zlib
}}
namespace inbox {{
  inbox = yes
  separator = /
  mailbox Archive {{
    auto = subscribe
  }}
  mailbox "Gelöschte Elemente" {{
    auto = create
    special_use = \\Trash
  }}
}}
{extra}
"""


def _listener(name: str, port: int, *, ssl: bool) -> str:
    secure = "    ssl = yes\n" if ssl and port else ""
    return f"  inet_listener {name} {{\n    port = {port}\n{secure}  }}"
