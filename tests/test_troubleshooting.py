"""Troubleshooting has an entry for each message of the code, and no other; errors.md describes each class correctly."""

from __future__ import annotations

import inspect
import itertools
import re
from collections import Counter
from pathlib import Path

import pytest
from helpers import messages
from helpers.command_line import ezeep, running
from helpers.documents import marked
from helpers.messages import FRAGMENTS, Entry, Message, found_in, has_words, normalized
from helpers.support import put
from site_checks.look_at_site import pasted

import ezeep_async
from ezeep_async import (
    ApiError,
    BadRequest,
    Conflict,
    EzeepError,
    FileTokenStore,
    NotFound,
    PermissionDenied,
    RateLimited,
    ServerError,
    TokenStoreError,
    TransportError,
)
from ezeep_async._wire.retrying import may_be_repeated
from ezeep_async.sandbox import Sandbox


pytestmark = [pytest.mark.may_block, pytest.mark.timeout(60)]  # all sources are read

REFERENCE = messages.ROOT / "docs/reference"
ERRORS = REFERENCE / "errors.md"
PAGES = sorted((REFERENCE / "troubleshooting").glob("*.md"))
OF_OTHERS = {
    "command-line.html#output-and-files",
    "network.html#no-connection",
    "network.html#the-server-refuses-a-call",
    "printing.html#error-codes-of-a-job",
    "provisioning.html#a-plan-that-was-edited-by-hand",
    "command-line.html#the-file-is-not-toml",
}
"""Sections that also explain messages with the words of the system, or of the server."""
CLASSES = {
    name: value
    for name in ezeep_async.__all__
    if isinstance(value := getattr(ezeep_async, name), type) and issubclass(value, EzeepError)
}
STATUSES: dict[type[ApiError], tuple[int, ...]] = {
    ApiError: (402, 408),
    BadRequest: (400, 422),
    PermissionDenied: (403,),
    NotFound: (404, 410),
    Conflict: (409, 412),
    RateLimited: (429,),
    ServerError: (500, 502, 503, 504),
}


@pytest.fixture(scope="module")
def code() -> list[Message]:
    return list(messages.found())


@pytest.fixture(scope="module")
def written() -> list[Entry]:
    return [entry for page in PAGES for entry in messages.entries(page)]


# --- the messages --------------------------------------------------------------------------------------------------


def test_each_message_has_an_entry(code: list[Message], written: list[Entry]) -> None:
    known = {text for entry in written for text in entry.messages} | FRAGMENTS
    missing = {message.text: message.place for message in code if message.text not in known}
    assert len(code) > 700
    assert [
        f"{place}: this message needs an entry in docs/reference/troubleshooting/, a line `{text}` and below it its "
        "cause and what to do"
        for text, place in missing.items()
    ] == []


def test_each_entry_is_a_message(code: list[Message], written: list[Entry]) -> None:
    known = {message.text for message in code}
    assert [
        f"{entry.page}: no code has the message {text!r} any more: remove or correct its line"
        for entry in written
        for text in entry.messages
        if text not in known
    ] == []
    assert known >= FRAGMENTS


def test_each_entry_says_what_to_do(written: list[Entry]) -> None:
    """A message has one entry, and each entry a sentence of its own."""
    short = [f"{entry.page}: {entry.messages[0]}" for entry in written if len(entry.text.split()) < 5]
    assert short == [], "below each message a line `: cause, and what to do`"
    several = Counter(text for entry in written for text in entry.messages)
    assert [text for text, times in several.items() if times > 1] == [], "a message has one entry"
    texts = Counter(entry.text for entry in written)
    same = [text for text, times in texts.items() if times > 1]
    assert same == [], "put the messages above one text, or say what differs"


def test_an_entry_links_to_the_classes_of_its_messages(code: list[Message], written: list[Entry]) -> None:
    kinds: dict[str, set[str]] = {}
    for message in code:
        if message.kind in CLASSES:
            kinds.setdefault(message.text, set()).add(message.kind)
    assert [
        f"{entry.page}: the entry of {text!r} has no link to errors.md#{kind.lower()}"
        for entry in written
        for text in entry.messages
        for kind in sorted(kinds.get(text, ()))
        if f"[`{kind}`](../errors.md#{kind.lower()})" not in entry.text
    ] == []


def test_each_class_is_linked() -> None:
    text = "".join(page.read_text() for page in PAGES)
    linked = set(re.findall(r"\]\(\.\./errors\.md#(\w+)\)", text))
    differ = "the classes (left) and the links of all pages to errors.md (right) differ"
    assert {name.lower() for name in CLASSES} == linked, differ


def test_the_first_page_links_to_all_others() -> None:
    text = (REFERENCE / "troubleshooting.md").read_text()
    missing = [page.name for page in PAGES if f"](troubleshooting/{page.name})" not in text]
    assert missing == [], "docs/reference/troubleshooting.md has no link to these pages"


def test_what_is_read_from_code(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text(
        """
WHERE = "in the file"
def check(name, log, collector):
    what = "one kind" if name else "another kind"
    if not name:
        raise ValueError(f"{name} is not known: " + "check its spelling")
    if name == 1:
        raise OSError(5, f"cannot be found {WHERE}")
    log.warning("%s was tried %d times", name, 2)
    log.info("not for users")
    collector.note_problem(3, _why(name))
    assert name, f"a name of {name!r} is wrong"
    print("shown as a result")
def _why(name):
    return "the first reason" if name else f"the other reason, {name}"
""",
        "utf-8",
    )
    assert {(message.text, message.kind) for message in found_in(module)} == {
        ("one kind", ""),
        ("another kind", ""),
        ("… is not known: check its spelling", "ValueError"),
        ("cannot be found in the file", "OSError"),
        ("… was tried … times", ""),
        ("the first reason", ""),
        ("the other reason, …", ""),
        ("a name of … is wrong", ""),
    }
    assert normalized(": a %s  of %d%g") == "a … of …"
    assert not has_words("…: … of")


@pytest.fixture
async def login(sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """The sandbox of a user who is logged in; the working directory is an empty folder."""
    for variable in ("HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.chdir(tmp_path)
    await put(FileTokenStore("login.json"), sandbox.tokens())
    for name, value in (("ACCOUNT", sandbox.endpoints.account), ("API", sandbox.endpoints.api)):
        monkeypatch.setenv(f"EZEEP_{name}_URL", value)
    monkeypatch.setenv("EZEEP_CLIENT_ID", sandbox.oauth_app.client_id)
    monkeypatch.setenv("EZEEP_TOKEN_FILE", "login.json")
    return sandbox


@pytest.mark.slow
@pytest.mark.usefixtures("login")
async def test_real_messages_have_entries(written: list[Entry]) -> None:
    """Each line on standard error matches an entry, as a person would find it."""
    Path("bad.csv").write_text("group,member\n,someone\n")
    Path("empty.csv").write_text("")
    Path("unknown.csv").write_text("group,member\nSales,absent@example.com\n")
    Path("people.xlsx").write_bytes(b"PK")
    Path("secret.txt").write_text("")
    commands = [
        "groups show Sale",
        "groups delete Sales",
        "users groups absent@example.com --add Sales",
        "provision plan bad.csv",
        "provision plan empty.csv",
        "provision plan unknown.csv",
        "provision plan people.xlsx",
        "provision apply unknown.csv --mode exact --on-missing skip --yes",
        "provision log bad.csv",
        "whoami --profile none",
        "groups list --debug --quiet",
        "api GET groups",
        "login --client-credentials",
        "login --client-secret-file secret.txt",
        "reports create --out report.csv",
        "refresh --token-file none.json",
    ]
    patterns = [pattern for entry in written for pattern in entry.patterns]
    unknown: list[str] = []
    for command in commands:
        ran = await ezeep(*command.split())
        assert ran.code, command
        lines = [re.sub(r"^(ezeep: |  )", "", line) for line in ran.err.splitlines()]
        assert lines, command
        unknown += [
            f"{command}: {line}"
            for line in lines
            if not re.match(r"the input has \d+ problems:", line)
            and not any(pattern.search(line) for pattern in patterns)
        ]
    assert unknown == []


def test_messages_that_are_searched_have_entries(written: list[Entry]) -> None:
    """What `nox -s docs` pastes into the search of the site."""
    assert len(pasted()) > 40
    assert [
        text
        for text, section in pasted().items()
        if not any(
            entry.page == f"{Path(section).stem.partition('.')[0]}.md"
            and any(pattern.search(text.removeprefix("ezeep: ")) for pattern in entry.patterns)
            for entry in written
        )
        and section.partition("/troubleshooting/")[2] not in OF_OTHERS
    ] == []


def form_of_log(text: str) -> list[str]:
    """The log of a run without ids, times and names; the columns separated by tabs."""
    text = re.sub(r"\t+\n", "\n", re.sub(r" {2,}|\t+", "\t", text))
    text = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}|[0-9a-f]{32}|[\w.]+@[\w.]+|\d{4}-\d\d-\d\d [\d:]+", "*", text)
    facts, rows = text.split("undone: no\n")
    return [*facts.splitlines(), *sorted(rows.split("\n"))]


@pytest.mark.slow
async def test_the_log_of_a_run_that_failed(login: Sandbox) -> None:
    """The page shows what the command shows, up to ids, times and names."""
    people = [person.email for person in list(login.organization.people.values())[:3]]
    Path("people.csv").write_text("group,member\n" + "".join(f"Night shift,{each}\n" for each in people))
    login.faults.add("PATCH /printing/v1/users/{id}/", status=403)
    ran = await ezeep("provision", "apply", "people.csv", "--yes", "--audit-log", "run.jsonl")
    assert (ran.code, "! " in ran.out) == (1, True)
    real = (await ezeep("provision", "log", "run.jsonl")).out
    shown = marked("docs/reference/troubleshooting.md", "log-of-a-run")

    assert form_of_log(shown) == form_of_log(real)


async def test_the_log_of_a_run_that_was_killed(login: Sandbox) -> None:
    """Its log ends in the middle of a change, and undo also reverts that one."""
    people = [person.email for person in list(login.organization.people.values())[:3]]
    Path("people.csv").write_text("group,member\n" + "".join(f"Night shift,{each}\n" for each in people))
    route, seen = "PATCH /printing/v1/users/{id}/", itertools.count(1)
    hold = login.faults.hold(route, when=lambda _: next(seen) == 2, after=True)
    arguments = ("provision", "apply", "people.csv", "--yes", "--concurrency", "1")
    async with running(*arguments, "--audit-log", "all.jsonl"):
        await hold.arrived()
        Path("run.jsonl").write_bytes(Path("all.jsonl").read_bytes())
        hold.release()
    real = (await ezeep("provision", "log", "run.jsonl")).out
    shown = marked("docs/reference/troubleshooting/provisioning.md", "log-of-a-killed-run")
    assert form_of_log(shown) == form_of_log(real)
    undo = await ezeep("provision", "undo", "run.jsonl", "--dry-run")
    assert (undo.code, undo.out.count("  - Night shift")) == (2, 2)


# --- the classes ---------------------------------------------------------------------------------------------------


def sections() -> dict[str, str]:
    parts = re.split(r"^### `(\w+)`$", ERRORS.read_text(), flags=re.MULTILINE)
    return {
        name: re.split(r"^## ", text, flags=re.MULTILINE)[0]
        for name, text in zip(parts[1::2], parts[2::2], strict=True)
    }


def test_each_class_has_a_section() -> None:
    differ = "docs/reference/errors.md: its sections (left) are not the public classes (right)"
    assert sorted(sections()) == sorted(CLASSES), differ
    assert [
        name
        for name, text in sections().items()
        if not re.match(r"\s*- When: .+\n- Repeat: .+\n- Do: ", text)
    ] == [], "a section begins with the lines `- When:`, `- Repeat:` and `- Do:`"


def test_the_tree_of_classes() -> None:
    (tree,) = re.findall(r"^```text\n(EzeepError\n.*?)^```", ERRORS.read_text(), re.MULTILINE | re.DOTALL)
    above: list[str] = []
    shown: dict[str, tuple[str, ...]] = {}
    for line in tree.splitlines():
        indent, name, others = re.fullmatch(r"( *)(\w+)(?: \(also (.+)\))?", line).groups()
        del above[len(indent) // 2 :]
        bases = [above[-1] if above else "Exception"]
        shown[name] = (*bases, *(others.split(", ") if others else ()))
        above.append(name)
    real = {name: tuple(base.__name__ for base in kind.__bases__) for name, kind in CLASSES.items()}
    assert shown == real, "docs/reference/errors.md: its tree (left) differs from the classes (right)"


def repeatable(kind: type[EzeepError]) -> set[bool]:
    """What `is_retryable` may be for errors of a class."""
    failures: list[EzeepError] = []
    if kind is TokenStoreError:
        return {False, True}  # true for a lock that another process holds
    if issubclass(kind, ApiError):
        failures = [kind("", status=status) for status in STATUSES[kind]]
    elif issubclass(kind, TransportError):
        # A connection that failed is unclear after an earlier attempt whose response was lost.
        failures = [kind("", request_sent=sent) for sent in (False, None)]
    if not failures:
        return {kind.retryable}
    return {may_be_repeated(each, idempotent=safe) for each in failures for safe in (True, False)}


@pytest.mark.parametrize("name", CLASSES)
def test_whether_repeating_helps(name: str) -> None:
    words = {(True,): "yes", (False,): "no", (False, True): "it depends"}
    line = f"- Repeat: **{words[tuple(sorted(repeatable(CLASSES[name])))]}**."
    assert line in sections()[name].splitlines(), f"docs/reference/errors.md: {name} needs {line}"


def test_attributes_are_named() -> None:
    """What a class adds to its base class."""
    own = {
        name: set(inspect.signature(kind.__init__).parameters) - {"self", "message", "request"}
        for name, kind in CLASSES.items()
        if "__init__" in vars(kind)
    }
    inherited = {"attempts", "request_id"}
    assert [
        f"{name}.{attribute}"
        for name, attributes in own.items()
        for attribute in sorted(attributes - (inherited if name != "EzeepError" else set()))
        if f"`{attribute}`" not in sections()[name]
    ] == [], "docs/reference/errors.md does not name these attributes in the sections of their classes"
    assert {name for name, attributes in own.items() if attributes} >= {
        "ApiError",
        "OutcomeUnknown",
        "StalePlan",
    }
