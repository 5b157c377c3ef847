"""Reports as mail systems send them, and reports built from parts."""

from shared.mime.parser import parse
from shared.mime.reports import Report

POSTFIX = r"""Return-Path: <>
Received: by mx.a.example (Postfix) id 4Xy; Mon, 23 Nov 2026 10:00:00 +0100 (CET)
Date: Mon, 23 Nov 2026 10:00:00 +0100 (CET)
From: MAILER-DAEMON@mx.a.example (Mail Delivery System)
Subject: Undelivered Mail Returned to Sender
To: us@us.example
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status;
	boundary="4Xy.1/mx.a.example"
Message-Id: <20261123@mx.a.example>

--4Xy.1/mx.a.example
Content-Description: Notification
Content-Type: text/plain; charset=us-ascii

I'm sorry to have to inform you that your message could not be delivered.

--4Xy.1/mx.a.example
Content-Description: Delivery report
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.a.example
X-Postfix-Queue-ID: 4Xy
X-Postfix-Sender: rfc822; us@us.example
Arrival-Date: Mon, 23 Nov 2026 09:59:00 +0100 (CET)

Final-Recipient: rfc822; Nobody@b.example
Original-Recipient: rfc822;nobody@a.example
Action: failed
Status: 5.1.1
Remote-MTA: dns; mx.b.example
Diagnostic-Code: smtp; 550 5.1.1 <nobody@b.example>:
    Recipient address rejected: User unknown

Final-Recipient: rfc822; full@b.example
Original-Recipient: rfc822;full@b.example
Action: delayed
Status: 4.2.2
Remote-MTA: dns; mx.b.example
Diagnostic-Code: smtp; 452 4.2.2 mailbox full

--4Xy.1/mx.a.example
Content-Description: Undelivered Message
Content-Type: message/rfc822

Received: from us by mx.a.example; Mon, 23 Nov 2026 09:59:00 +0100
From: us@us.example
Message-ID:
 <1@us.example>
Subject: hello

Message-ID: <not-this@us.example>

--4Xy.1/mx.a.example--
"""

EXCHANGE = """From: <postmaster@us.example>
To: <us@us.example>
Content-Type: multipart/report; report-type=delivery-status; boundary="b"
Message-ID: <2@us.example>
In-Reply-To: <AM0@us.example>
Subject: Undeliverable: hello
Auto-Submitted: auto-replied

--b
Content-Type: multipart/alternative; differences=Content-Type; boundary="c"

--c
Content-Type: text/plain; charset="us-ascii"

Your message to x couldn't be delivered.
--c--
--b
Content-Type: message/delivery-status

Reporting-MTA: dns;AM0.example.outlook.com
Received-From-MTA: dns;AM1.example.outlook.com
Arrival-Date: Mon, 23 Nov 2026 09:00:00 +0000

Final-Recipient: rfc822;x@b.example
Action: failed
Status: 5.1.10
Diagnostic-Code: smtp;550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup
X-Display-Name: x

--b
Content-Type: text/rfc822-headers

Received: from AM1 by AM0 with mapi id 15.20; Mon, 23 Nov 2026 09:00:00 +0000
Message-ID: <AM0PR@us.example>
Subject: hello
--b--
"""

GMAIL = """Return-Path: <>
From: Mail Delivery Subsystem <mailer-daemon@googlemail.com>
To: us@us.example
Auto-Submitted: auto-replied
Subject: Delivery Status Notification (Failure)
References: <1@us.example>
In-Reply-To: <1@us.example>
X-Failed-Recipients: x@b.example
Content-Type: multipart/report; boundary="b"; report-type=delivery-status

--b
Content-Type: multipart/related; boundary="r"

--r
Content-Type: text/plain; charset="UTF-8"

** Address not found **
--r--
--b
Content-Type: message/delivery-status

Reporting-MTA: dns; googlemail.com
Received-From-MTA: dns; us@us.example
Arrival-Date: Mon, 23 Nov 2026 01:00:00 -0800 (PST)
X-Original-Message-ID: <1@us.example>

Final-Recipient: rfc822; x@b.example
Action: failed
Status: 5.1.1
Remote-MTA: dns; mx.b.example. (192.0.2.7, the server for the domain b.example.)
Diagnostic-Code: smtp; 550-5.1.1 The email account that you tried to reach does not exist.
Last-Attempt-Date: Mon, 23 Nov 2026 01:00:01 -0800 (PST)

--b
Content-Type: message/rfc822

Message-ID: <1@us.example>

x
--b--
"""

EXIM_WITHOUT_MIME = """Return-path: <>
From: Mail Delivery System <Mailer-Daemon@a.example>
To: us@us.example
Auto-Submitted: auto-replied
X-Failed-Recipients: x@b.example,
  Y@b.example
Subject: Mail delivery failed: returning message to sender

This message was created automatically by mail delivery software.
"""

MDN = """Return-Path: <>
From: reader@b.example
To: us@us.example
Subject: Read: hello
Content-Type: multipart/report; report-type=disposition-notification; boundary=b

--b
Content-Type: text/plain

Your message was read.
--b
Content-Type: message/disposition-notification

Reporting-UA: b.example; Reader 1.0
Final-Recipient: rfc822;reader@b.example
Original-Message-ID: <1@us.example>
Disposition: manual-action/MDN-sent-manually; displayed

--b--
"""

FEEDBACK = """From: <abuse@a.example>
Content-Type: multipart/report; report-type=feedback-report; boundary=b

--b

Complaint.
--b
Content-Type: message/feedback-report

Feedback-Type: abuse
User-Agent: x/1
Original-Mail-From: <us@us.example>

--b
Content-Type: message/rfc822

Message-ID: <1@us.example>

--b--
"""


def reported(source: str | bytes) -> Report:
    report = parse(source.encode() if isinstance(source, str) else source).report
    assert report is not None
    return report


def delivery(fields: str, *, third: str = "", header: str = "", kind: str = "message/delivery-status") -> str:
    """Return a delivery report with these fields, third part and further header lines."""
    return (
        f"{header}Content-Type: multipart/report; report-type=delivery-status; boundary=b\n\n"
        f"--b\n\nSorry.\n--b\nContent-Type: {kind}\n\n{fields}\n{third and f'--b{chr(10)}{third}{chr(10)}'}--b--\n"
    )
