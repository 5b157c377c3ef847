"""Check prose for the words and line lengths that the project's language rules exclude.

    python -m tools.check_language [PATH ...]

The check reads Markdown, and the docstrings, comments and string literals of Python code. It prints
`FILE:LINE: WORD: what to write instead` for each violation, and exits with status 1 if there is one. Without paths
it reads `CHECKED`. The terms to use are in docs/glossary.md.
"""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

CHECKED: tuple[str, ...] = (
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "Makefile",
    "bench",
    "docs",
    "function_app.py",
    "functions_host",
    "fuzz",
    "graph_simulator",
    "graph_webhook",
    "infra",
    "mailroom_cli",
    "poll_timer",
    "route_message",
    "shared",
    "tools",
)
"""Files and folders that a run without arguments reads, relative to the repository."""

SKIPPED = (
    "tests/*",
    "tools/check_language.py",  # it has to name the words
    "docs/reference/settings.md",  # generated; its sources are checked
)
"""Files that no run reads; `*` matches slashes, too."""

MAX_LINE = 99
"""Characters in a line of Markdown, without the targets of its links."""

WORDS: tuple[tuple[str, str], ...] = (
    (r"anew", "again"),
    (r"befalls?|befell|befallen|befalling", "happens to"),
    (r"besides", "also, in addition to"),
    (r"fares?|fared|faring", "the state, the health"),
    (r"faults?|faulty", "error; for settings, configuration error"),
    (r"(?:give|gives|gave|given|giving) out", "deliver, return, publish"),
    (r"ill(?!-)", "unavailable"),
    (r"in vain", "without success"),
    (r"look(?:s|ed|ing)? at", "poll, check, read, inspect"),
    (r"(?:a|an|the|each|every|one|another|next|first|last|no|further|fewer) looks?", "poll, check"),
    (r"(?:make|makes|made|making) good", "repair, resume, retry"),
    (r"mend|mends|mended|mending", "repair, handle"),
    (r"(?:no|any|some)body(?:'s)?", "no recipient, any recipient, someone"),
    (r"of (?:its|their|his|her|our|your) own doing", "(delete it)"),
    (r"on the way", "during, while"),
    (r"reckon|reckons|reckoned|reckoning", "count, treat as"),
    (r"spares?|spared|sparing", "keep, retain, avoid"),
    (r"stands?|stood|standing", "is, is stored"),
    (r"tells?|told|telling", "report, log, return, distinguish"),
    (r"till", "until"),
    (r"to the letter", "exactly"),
    (r"what (?:became|becomes|has become|had become|is to become) of", "the outcome of"),
    (r"whom", "the recipient, or the thing's name"),
    (r"without a word", "silently"),
    (r"aloud", "(name the alert or the log line)"),
    (r"by hand", "manually"),
    (r"clocks?", "timer"),
    (r"the ways? (?:in|out)", "intake, dispatch, or the thing's name"),
    (r"one's own", "your own"),
    # "There is no folder" is plain English; "this is no folder" is "this is not a folder".
    (r"(?<!there\s)(?:is|are|was|were) no(?! (?:longer|more than|fewer|less|later|one\b))", "is not a"),
)
"""Patterns of words, and what to write instead. A blank matches any white space, line ends included."""


@dataclass(frozen=True)
class AllowedUse:
    """A use of a word that is correct, and the reason."""

    files: str
    pattern: str
    reason: str


ALLOWED = (
    AllowedUse("*", r"fault[ _-]?(?:injection|plan)s?|injected faults?", "the field's term for failures in tests"),
    AllowedUse("graph_simulator/*", r"faults?", "the failures that a FaultPlan injects into responses"),
    AllowedUse("shared/mime/responders.py", r"\btill\b", "Swedish, in subjects of absence notes"),
    AllowedUse("*", r"(?:wall|system|monotonic|local|server's|machine's) clocks?", "a source of time, not a timer"),
)
"""At most ten; everything that one of these patterns matches is ignored."""


@dataclass(frozen=True)
class Violation:
    """A word or a line that the rules exclude, with its place."""

    path: str
    line: int
    word: str
    remedy: str

    def __str__(self) -> str:
        """Return the line to print."""
        return f"{self.path}:{self.line}: {self.word}: {self.remedy}"


@dataclass(frozen=True)
class Passage:
    """Text that begins on a line of a file and has the file's line ends."""

    line: int
    text: str


def _compile(pattern: str) -> re.Pattern[str]:
    """Compile a pattern so that a blank matches white space, and only whole words match."""
    flexible = pattern.replace(" ", r"\s+")
    return re.compile(rf"(?<![\w-])(?:{flexible})(?!\w)", re.IGNORECASE)


_WORDS = tuple((_compile(pattern), remedy) for pattern, remedy in WORDS)
_FENCE = re.compile(r"^ *(```|~~~).*?^ *\1[^\n]*$", re.MULTILINE | re.DOTALL)
_CODE_SPAN = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)", re.DOTALL)
_LINK_TARGET = re.compile(r"\]\([^)\s]*\)|<?https?://[^\s>]*>?")
_STRING_TOKENS = {tokenize.STRING, *(getattr(tokenize, name, tokenize.STRING) for name in ("FSTRING_MIDDLE",))}
_LAYOUT_TOKENS = {
    *(tokenize.NL, tokenize.COMMENT),
    *(getattr(tokenize, name, tokenize.NL) for name in ("FSTRING_START", "FSTRING_END")),
}
_QUOTES = re.compile(r"^[a-zA-Z]{0,2}(\"{3}|'{3}|\"|')|(\"{3}|'{3}|\"|')$")
_ESCAPE = re.compile(r"\\[ntr]")
# A name, path, pattern of a path or format: code, not prose.
_IDENTIFIER = re.compile(r"[\w./:*%{}@#<>=,;+~$^|()\[\]\\-]*")


def _blank(match: re.Match[str]) -> str:
    """Return spaces in place of a match, with its line ends."""
    return re.sub(r"[^\n]", " ", match[0])


def search(path: str, passages: Iterable[Passage]) -> Iterator[Violation]:
    """Yield the excluded words in passages of one file."""
    allowed = [
        re.compile(use.pattern.replace(" ", r"\s+"), re.IGNORECASE) for use in ALLOWED if fnmatch(path, use.files)
    ]
    for passage in passages:
        text = passage.text
        for pattern in allowed:
            text = pattern.sub(_blank, text)
        for pattern, remedy in _WORDS:
            for match in pattern.finditer(text):
                line = passage.line + text.count("\n", 0, match.start())
                yield Violation(path, line, " ".join(match[0].split()), remedy)


def markdown_passages(text: str) -> Iterator[Passage]:
    """Yield a page without code spans, which quote identifiers, and without the targets of links."""
    fences = [match.span() for match in _FENCE.finditer(text)]
    blanked = _CODE_SPAN.sub(lambda match: _blank(match) if not _within(match.start(), fences) else match[0], text)
    yield Passage(1, _LINK_TARGET.sub(_blank, blanked))


def _within(offset: int, spans: list[tuple[int, int]]) -> bool:
    """Return whether an offset is in one of the spans."""
    return any(start <= offset < end for start, end in spans)


def long_lines(path: str, text: str) -> Iterator[Violation]:
    """Yield the lines of a page that are too long, outside code blocks, tables and the targets of links."""
    prose = _FENCE.sub(_blank, text)
    for number, line in enumerate(prose.splitlines(), 1):
        visible = _LINK_TARGET.sub("]", line).rstrip()
        if len(visible) > MAX_LINE and not line.lstrip().startswith("|"):
            yield Violation(path, number, f"line of {len(visible)} characters", f"at most {MAX_LINE}")


def python_passages(source: str) -> Iterator[Passage]:
    """Yield the comments and the strings of a module; adjacent ones form one passage.

    Dictionary keys and strings without white space are identifiers, and are left out.
    """
    keys = _positions_of_keys(source)
    comments: list[tuple[int, str]] = []
    strings: list[tuple[int, str]] = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        line = token.start[0]
        if token.type == tokenize.COMMENT:
            if comments and line > comments[-1][0] + 1:
                yield _joined(comments)
                comments = []
            comments.append((line, token.string.replace("#", " ")))
        if token.type in _STRING_TOKENS:
            if token.start not in keys:
                strings.append((line, _ESCAPE.sub("  ", _QUOTES.sub("", token.string))))
        elif token.type not in _LAYOUT_TOKENS and strings:
            yield from _prose(_joined(strings))
            strings = []
    if comments:
        yield _joined(comments)


def _positions_of_keys(source: str) -> set[tuple[int, int]]:
    """Return the line and column of each dictionary key."""
    return {
        (key.lineno, key.col_offset)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Dict)
        for key in node.keys
        if isinstance(key, ast.Constant)
    }


def _joined(pieces: list[tuple[int, str]]) -> Passage:
    """Return pieces of text as one passage, each on its own line."""
    first = pieces[0][0]
    text = ""
    for line, piece in pieces:
        text += "\n" * (line - first - text.count("\n")) + piece
    return Passage(first, text)


def _prose(passage: Passage) -> Iterator[Passage]:
    """Yield a passage unless it is an identifier."""
    if not _IDENTIFIER.fullmatch(passage.text):
        yield passage


def check_file(file: Path) -> list[Violation]:
    """Return the violations in a file of Markdown or Python; other files have none."""
    path = file.relative_to(ROOT).as_posix() if file.is_relative_to(ROOT) else file.as_posix()
    if any(fnmatch(path, pattern) for pattern in SKIPPED):
        return []
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".md":
        violations = [*search(path, markdown_passages(text)), *long_lines(path, text)]
    elif file.suffix == ".py":
        violations = list(search(path, python_passages(text)))
    else:
        violations = []
    return sorted(set(violations), key=lambda violation: (violation.line, violation.word))


def files_in(path: Path) -> list[Path]:
    """Return a file, or a folder's files of Markdown and Python that git tracks or would track."""
    if path.is_file():
        return [path]
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md", "*.py"],  # noqa: S607
        cwd=path,
        capture_output=True,
        text=True,
        check=True,
    )
    return sorted({path / name for name in listing.stdout.splitlines() if (path / name).is_file()})


def main(arguments: list[str]) -> int:
    """Print the violations in the given files and folders, and return the exit status."""
    paths = [Path(argument).resolve() for argument in arguments] or [ROOT / name for name in CHECKED]
    missing = [path for path in paths if not path.exists()]
    if missing:
        sys.stderr.write(f"{missing[0]}: there is no such file or folder\n")
        return 2
    violations = [violation for path in paths for file in files_in(path) for violation in check_file(file)]
    sys.stdout.writelines(f"{violation}\n" for violation in violations)
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
