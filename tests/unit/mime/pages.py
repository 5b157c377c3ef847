"""HTML as mail programs and newsletters write it, with the required properties of its text, for any converter."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

_DECORATION = re.compile(
    r"[<(](?:https?|mailto):[^>)]*[>)]|\]\([^)]*\)|^[\s>#]*(?:[*\u2022o+-]|\d+\.)? +|[*_\[\]|`~]+|^[>#]+", re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class Page:
    """An HTML page with the expected properties of its text.

    Attributes:
        source: the HTML.
        lines: text that must appear in this order, each on its own line.
        hidden: words that a mail program does not show.
        targets: addresses of links that must appear.
    """

    source: str
    lines: tuple[str, ...]
    hidden: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()

    def conversion_errors(self, text: str) -> set[str]:
        """Return the errors of a converter: `words` (lost, cut or glued), `lines`, `hidden`, `links`."""
        plain = [" ".join(_DECORATION.sub("", line).split()) for line in text.splitlines()]
        words = " ".join(filter(None, plain))
        errors: set[str] = set()
        position = 0
        for line in self.lines:
            position = words.find(line, position)
            if position < 0:
                errors.add("words")
                break
            position += len(line)
        if not set(self.lines) <= set(plain):
            errors.add("lines")
        if any(word in text for word in self.hidden):
            errors.add("hidden")
        if not all(target in text for target in self.targets):
            errors.add("links")
        return errors


WORD = """<html xmlns:o="urn:schemas-microsoft-com:office:office" xmlns:w="urn:schemas-microsoft-com:office:word"><head>
<meta http-equiv=Content-Type content="text/html; charset=utf-8"><!--[if !mso]><style>v\\:*
{behavior:url(#default#VML);}
</style><![endif]--><style><!-- /* Font Definitions */ @font-face {font-family:Calibri;} p.MsoNormal {margin:0cm;}
--></style>
<!--[if gte mso 9]><xml><o:shapedefaults v:ext="edit" spidmax="1026" /></xml><![endif]--></head>
<body lang=DE link="#0563C1"><div class=WordSection1><p class=MsoNormal><span lang=EN-GB>Dear all,<o:p></o:p></span></p>
<p class=MsoNormal><o:p>&nbsp;</o:p></p><p class=MsoNormal>the <b>contract</b>
is at<span style='mso-spacerun:yes'>  </span>hand.<o:p></o:p></p>
<p class=MsoListParagraph style='margin-left:36.0pt'><![if
!supportLists]><span>1.<span>&nbsp;&nbsp;</span></span><![endif]>Sign
it<o:p></o:p></p><div style='border:none;border-top:solid #E1E1E1 1.0pt'><p class=MsoNormal><b>From:</b> Ann
&lt;a@b.example&gt;
<br><b>Sent:</b> Monday<o:p></o:p></p></div></div></body></html>"""

NEWSLETTER = """<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN"
"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">
<html><head><title>November</title><style type="text/css">@media only screen {.w{width:100%!important}}</style></head>
<body bgcolor="#ffffff"><center><table width="100%" cellpadding="0"><tr><td align="center"><table
width="600"><tbody><tr>
<td><img src="https://x.example/logo.png" alt="Chair House" width="200"></td></tr><tr><td><h1 style="margin:0">Ten new
chairs</h1></td></tr><tr><td><table><tr><td width="300"><p>Oak, from &euro;&nbsp;99</p></td><td width="300"><p>Beech,
from
&euro;&nbsp;79</p></td></tr></table></td></tr><tr><td><a href="https://x.example/shop?a=1&amp;b=2"
style="background:#c00">Shop now</a></td></tr><tr><td>&copy; 2026 Chair House &mdash; <a
href='https://x.example/bye'>unsubscribe</a></td></tr></tbody></table></td></tr></table></center>
<img src="https://t.example/o.gif" width="1" height="1" alt=""><script>track("opened")</script></body></html>"""

PAGES: dict[str, Page] = {
    "a letter written with Word": Page(
        WORD,
        ("Dear all,", "the contract is at hand.", "From: Ann <a@b.example>", "Sent: Monday"),
        hidden=("Font Definitions", "behavior", "shapedefaults", "supportLists"),
    ),
    "a newsletter of nested tables": Page(
        NEWSLETTER,
        ("Chair House", "Ten new chairs", "Oak, from \u20ac 99", "Beech, from \u20ac 79"),
        hidden=("@media", "track(", "DTD"),
        targets=("https://x.example/shop?a=1&b=2", "https://x.example/bye"),
    ),
    "a reply, quoted": Page(
        '<div dir="ltr">Yes, on Tuesday.<div><br></div><div>Ann</div></div><br>'
        '<div class="gmail_quote">On Mon, 23 Nov 2026 '
        "Bob wrote:<br><blockquote>Can you come?<br>Bob</blockquote></div>",
        ("Yes, on Tuesday.", "Ann", "On Mon, 23 Nov 2026 Bob wrote:", "Can you come?", "Bob"),
    ),
    "an invoice as a table": Page(
        "<table border=1><thead><tr><th>Item</th><th>Price</th></tr></thead><tbody><tr><td>"
        "Chair</td><td>99.00</td></tr>"
        "<tr><td>Table</td><td>199.00</td></tr></tbody></table>",
        ("Item Price", "Chair 99.00", "Table 199.00"),
    ),
    "lists in lists": Page(
        "<p>Bring:</p><ul><li>tools<ul><li>a saw</li><li>glue</li></ul></li><li>wood</li></ul><p>Thanks</p>",
        ("Bring:", "tools", "a saw", "glue", "wood", "Thanks"),
    ),
    "lists without ends": Page("<ol><li>one<li>two<li>three</ol>done", ("one", "two", "three", "done")),
    "emphasis within words": Page("<p>re<b>mark</b>able, <i>f</i>oo<wbr>bar</p>", ("remarkable, foobar",)),
    "elements that cross": Page("<p><b>bold <i>both</b> italic</i> none<p>next", ("bold both italic none", "next")),
    "code": Page("<pre>if x:\n    y()\n</pre><p>end</p>", ("if x:", "y()", "end")),
    "characters by name and number": Page(
        "<p>caf&eacute; &#8364;5 &#x1F600; &lt;tag&gt; AT&T &amp;amp; &hellip;</p>",
        ("caf\u00e9 \u20ac5 \U0001f600 <tag> AT&T &amp; \u2026",),
    ),
    "less than, in prose": Page("<p>1 < 2, and 3 > 2 & so on</p>", ("1 < 2, and 3 > 2 & so on",)),
    "an address in angle brackets": Page(
        "<div>From: Ann <a.b@x.example></div><div>To: Bob</div>", ("From: Ann <a.b@x.example>", "To: Bob")
    ),
    "capitals, and values without quotes": Page(
        "<HTML><BODY BGCOLOR=#ffffff><P ALIGN=center>Hello<BR>World</P><A HREF=https://x.example/y>"
        "there</A></BODY></HTML>",
        ("Hello", "World", "there"),
        targets=("https://x.example/y",),
    ),
    "a picture that is a link": Page(
        '<a href="https://x.example/z"><img alt="Our shop" src="cid:1"></a>',
        ("Our shop",),
        targets=("https://x.example/z",),
    ),
    "an address to write to": Page(
        '<p>Ask <a href="mailto:a@x.example">us</a>.</p>', (), targets=("mailto:a@x.example",)
    ),
    "code that is not shown": Page(
        "<head><style>p{color:red}</style></head><body>a<script>if (1 < 2) document.write('</p>secret')</script>"
        "<!-- note --><template>mould</template><p>b</p></body>",
        ("a", "b"),
        hidden=("color", "secret", "note", "mould"),
    ),
    "XHTML": Page(
        '<?xml version="1.0" encoding="utf-8"?><html xmlns="http://www.w3.org/1999/xhtml"><body><p>'
        "one<br/>two</p><hr/><p>three</p></body></html>",
        ("one", "two", "three"),
        hidden=("version",),
    ),
    "a document behind a document": Page(
        "<html><body><p>first</p></body></html><html><body><div>footer of a gateway</div></body></html>",
        ("first", "footer of a gateway"),
    ),
    "text behind the end": Page("<html><body><p>first</p></body></html>\nscanned", ("first", "scanned")),
    "a form": Page(
        '<form><label>Name</label> <input value="x"><select><option>one</option><option>two</option>'
        "</select></form><p>end</p>",
        ("one", "two", "end"),
    ),
    "no block anywhere": Page("one<br>two<br>\n<br>three", ("one", "two", "three")),
    "East Asian and right to left": Page(
        "<p>\u8acb\u6c42\u66f8\u3092<b>\u6dfb\u4ed8</b>\u3057\u307e\u3059</p><p dir=rtl>"
        "\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd</p>",
        ("\u8acb\u6c42\u66f8\u3092\u6dfb\u4ed8\u3057\u307e\u3059", "\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd"),
    ),
    "cut off in a tag": Page("<p>whole</p><p>cut <a href='https://x.exa", ("whole", "cut")),
    "cut off in a style": Page("<p>whole</p><style>p{color:", ("whole",), hidden=("color",)),
    "definitions": Page("<dl><dt>Seat<dd>oak<dt>Legs<dd>steel</dl>", ("Seat", "oak", "Legs", "steel")),
}

_MEGABYTE = 1_000_000


def _repeat(piece: str) -> Callable[[], str]:
    return lambda: piece * (_MEGABYTE // len(piece))


HOSTILE: dict[str, Callable[[], str]] = {
    "div": _repeat("<div>w"),
    "b and p": _repeat("<b><p>w"),
    "tables in tables": _repeat("<table><tr><td>w"),
    "lists in lists": _repeat("<ul><li>w"),
    "quotations": _repeat("<blockquote>w"),
    "pre": _repeat("<pre>\n w"),
    "links in links": _repeat("<a><div>w"),
    "fonts": _repeat("<font color=red>w"),
    "drawings": _repeat("<svg><p>w"),
    "attributes": lambda: "<p " + " ".join(f"a{number}" for number in range(140_000)) + ">w",
    "one attribute": lambda: "<p " + "a=b " * (_MEGABYTE // 4) + ">w",
    "open quotes": _repeat('<a "'),
    "open comments": _repeat("<!--"),
    "open brackets": _repeat("<"),
    "numbers": _repeat("&#99"),
    "ordinary rows": _repeat(
        "<table><tr><td style='padding:4px'><p>Words &amp; <a href='https://x.example/1'>more</a>"
        "</p></td></tr></table>\n"
    ),
}
"""Pages of a megabyte, as only an attacker or a broken template writes them. Each `w` is text."""
