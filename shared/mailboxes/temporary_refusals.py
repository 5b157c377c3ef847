"""Texts with which IMAP and POP3 servers refuse a sign-in temporarily, with the source of each.

A temporary refusal is not about the credentials: the mailbox is busy, and the next poll retries. Response codes are
checked first (RFC 5530, RFC 2449 section 8, RFC 3206), then texts about the credentials, then the texts below. Any
other refusal is a refusal of the credentials.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

TEMPORARY_CODES: Final = frozenset(
    {"UNAVAILABLE", "INUSE", "THROTTLED", "LIMIT", "OVERQUOTA", "SERVERBUG", "IN-USE", "LOGIN-DELAY", "SYS/TEMP"}
)
"""Response codes that mean "not now" when a sign-in is refused. Gmail's bandwidth limit comes with OVERQUOTA."""

PERMANENT_CODES: Final = frozenset(
    {
        "AUTHENTICATIONFAILED",
        "AUTHORIZATIONFAILED",
        "EXPIRED",
        "PRIVACYREQUIRED",
        "CONTACTADMIN",
        "NOPERM",
        "AUTH",
        "SYS/PERM",
    }
)
"""Response codes after which only other credentials, permissions or settings help."""


@dataclass(frozen=True, slots=True)
class TemporaryRefusal:
    """A text that means "not now".

    Attributes:
        pattern: regular expression, searched anywhere in the text, case-insensitively.
        provider: the server or provider, with the text that it sends.
        source: where the text is documented or reported.
    """

    pattern: str
    provider: str
    source: str


TABLE: Final = (
    TemporaryRefusal(
        r"too many (?:simultaneous|concurrent|open|active|parallel|imap|pop3?|user|client|\s)*"
        r"(?:connections|sessions|log-?ins|logons|users)\b",
        "Gmail: [ALERT] Too many simultaneous connections. (Failure)",
        "https://github.com/jstedfast/MailKit/issues/377",
    ),
    TemporaryRefusal(
        r"(?:maximum|max)\.?(?: number of)? (?:\w+ )?(?:connections?|sessions?|log-?ins?)\b.{0,60}"
        r"(?:exceeded|reached|limit)|connections? limit (?:is |was )?(?:exceeded|reached)",
        "Dovecot: Maximum number of connections from user+IP exceeded",
        "https://github.com/mscdex/node-imap/issues/606",
    ),
    TemporaryRefusal(
        r"exceeded command or bandwidth limits",
        "Gmail: [OVERQUOTA] Account exceeded command or bandwidth limits",
        "https://github.com/ljmerza/ha-email-sensor/issues/16",
    ),
    TemporaryRefusal(
        r"server (?:is )?(?:currently |temporarily )?unavailable",
        "Exchange over IMAP: Server Unavailable. 15",
        "https://github.com/lefcha/imapfilter/issues/146",
    ),
    TemporaryRefusal(
        r"(?:service|backend|mailbox|account|system) (?:is )?(?:currently |temporarily )?(?:unavailable|not available)",
        "Exchange over POP3: Server Unavailable. 21; iCloud: Service temporarily unavailable",
        "https://github.com/simonrob/email-oauth2-proxy/issues/379, https://github.com/MailCore/mailcore2/pull/1642",
    ),
    TemporaryRefusal(
        r"request is throttled|suggested backoff time",
        "Exchange Online: Request is throttled. Suggested Backoff Time: N milliseconds",
        "https://github.com/ikvk/imap_tools/issues/135",
    ),
    TemporaryRefusal(
        r"temporary (?:\w+ ){0,3}(?:failure|error|problem)|temporarily (?:unavailable|rejected|refused|failed)",
        "Mailu: Temporary authentication failure (rate-limit); Dovecot: Temporary authentication failure",
        "https://github.com/Mailu/Mailu/issues/2283, Dovecot src/login-common/login-common.h (AUTH_TEMP_FAILED_MSG)",
    ),
    TemporaryRefusal(
        r"rate[- ]?limit",
        "Mailu before 1.9: Authentication rate limit from one source exceeded",
        "https://github.com/Mailu/Mailu/issues/686",
    ),
    TemporaryRefusal(
        r"internal (?:server |login |authentication )?(?:error|failure)|server (?:internal )?error",
        "Dovecot: Internal error occurred, Internal login failure; Yahoo: Server error; nginx: internal server error",
        "https://github.com/imapsync/imapsync/issues/346, https://github.com/imapsync/imapsync/issues/119, "
        "nginx src/mail/ngx_mail_handler.c",
    ),
    TemporaryRefusal(
        r"(?:try|retry|come back|connect|log ?in)(?: again)?(?: a (?:bit|little))? later"
        r"|try again in (?:a|\d+|some|few)\b|too (?:busy|frequent)|server (?:is )?(?:too )?busy",
        "Yahoo: Server error - Please try again later; many others",
        "https://github.com/ikvk/imap_tools/issues/229",
    ),
    TemporaryRefusal(
        r"(?:can(?: ?no|')?t|could ?n[o']t|unable to|failed to) (?:get|obtain|acquire|aquire|set|place)(?: an?| the)? "
        r"(?:\w+ )?lock\b|mailbox (?:is )?(?:already )?in use",
        "UW-IMAP ipop3d: Can't get lock.  Mailbox in use",
        "UW-IMAP src/ipopd/ipop3d.c",
    ),
    TemporaryRefusal(
        r"\b(?:unable to|can(?: ?no|')?t|could ?n[o']t|failed to) lock\b",
        "Cyrus: Unable to lock maildrop; teapop: Unable to lock mailbox; RFC 1939 section 7",
        "Cyrus IMAP imap/pop3d.c, https://www.rfc-editor.org/rfc/rfc1939#page-13",
    ),
    TemporaryRefusal(
        r"(?:mailbox|maildrop|mail ?drop|spool|inbox) (?:is |was )?(?:already |currently |temporarily |exclusively )?"
        r"(?:locked|in use|busy|open(?:ed)?)(?! (?:out|due|because|after|for security|by (?:the |an? )?admin))",
        "hMailServer: Your mailbox is already locked; MDaemon: Maildrop already locked; VPOP3: Mailbox Locked; "
        "directnic: Mailbox is locked",
        "hMailServer source/Server/POP3/POP3Connection.cpp, https://www.altn.com/Support/FAQ/FAQResults/?Number=247, "
        "https://helpdesk.pscs.co.uk/612651--ERR-Mailbox-Locked-error, "
        "http://directnic.com/help/faq/?question_id=630",
    ),
    TemporaryRefusal(
        r"\block (?:busy|timeout|failed)\b|\bsession (?:is )?already (?:active|open)\b"
        r"|another (?:\w+ )?(?:session|client|process|mua|user|connection|program)\b.{0,30}"
        r"\b(?:active|open|using|use|uses|has|holds|locked|connected|progress|accessing|running)\b"
        r"|(?:locked|in use|opened|open|used|accessed) by (?:another|other)\b",
        "qpopper: Maildrop lock busy!  Is another session active?; .user.pop lock busy!  Is another session active?",
        "qpopper pop_dropcopy.c; fetchmail driver.c repeats it",
    ),
    TemporaryRefusal(
        r"\b(?:account|user) (?:is )?(?:already |currently )?(?:in use|logged (?:in|on))\b|already logged (?:in|on)\b",
        "POP3 servers that let a user in once: Your account is in use, try later",
        "gaia-email-libs-and-more, POP3 login tests",
    ),
    TemporaryRefusal(
        r"too many (?:\w+ )?(?:log-?in|logon|sign-?in|authentication|auth|connection) (?:attempts|requests)\b",
        "Google: Too many login attempts, please try again later",
        "https://support.google.com/a/answer/3726730",
    ),
)
"""Texts that mean "not now"."""

_CREDENTIALS: Final = re.compile(
    r"(?:invalid|bad|incorrect|wrong|failed|unsuccessful|unknown) (?:\w+ |or |/ ?|and ){0,3}"
    r"(?:credentials?|passwords?|user ?names?|users?|log-?ins?|logons?|auth\w*|tokens?)\b"
    r"|(?:password|credentials?|user ?name|token)s? (?:\w+ ){0,3}(?:incorrect|invalid|wrong|expired|not accepted)\b"
    r"|too many (?:\w+ )?(?:\w+ )?(?:failures|errors)\b"
    r"|(?:account|user|log-?in)\b.{0,20}\b(?:locked|blocked|disabled|suspended|deactivated|closed|banned)\b"
    r"|locked out|application-specific password|web browser",
    re.IGNORECASE,
)
"""Texts about the credentials or the account. They win over `TABLE` ("Invalid credentials, try again later")."""

_TEMPORARY: Final = re.compile("|".join(f"(?:{row.pattern})" for row in TABLE), re.IGNORECASE)
_BACKOFF: Final = re.compile(
    r"suggested backoff time:?\s*(\d{1,9})\s*(m(?:illi)?s(?:ec(?:ond)?s?)?|s(?:ec(?:ond)?s?)?)?\b", re.IGNORECASE
)
_THROTTLED: Final = re.compile(
    r"request is throttled|suggested backoff time|\[THROTTLED\b|exceeded command or bandwidth limits"
    r"|\[LIMIT\b[^\]]*\].*\brate limit",
    re.IGNORECASE,
)
"""Exchange Online, RFC 5530's successor [THROTTLED], Gmail's bandwidth limit, Yahoo's `[LIMIT] … Rate limit hit`."""

_CODE: Final = re.compile(r"\[([A-Za-z][A-Za-z0-9/_-]*)[^\]]*\]")


def is_temporary_refusal(text: str) -> bool:
    """Return whether the refusal of a sign-in is temporary, and not about the credentials.

    Args:
        text: the server's response with its response code, without the tag or `-ERR`.
    """
    if is_throttled(text):
        return True
    codes = {code.upper() for code in _CODE.findall(text)}
    if codes & TEMPORARY_CODES:
        return True
    if codes & PERMANENT_CODES or _CREDENTIALS.search(text):
        return False
    return _TEMPORARY.search(text) is not None


def is_throttled(text: str) -> bool:
    """Return whether a response to any command says that the account is throttled."""
    return _THROTTLED.search(text) is not None


def suggested_backoff(text: str) -> float | None:
    """Return the seconds that Exchange Online asks to wait (`Suggested Backoff Time: N milliseconds`), or None."""
    match = _BACKOFF.search(text)
    if match is None:
        return None
    in_seconds = (match[2] or "m").lower().startswith("s")
    return float(match[1]) if in_seconds else int(match[1]) / 1000
