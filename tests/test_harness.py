"""The guards of this suite work: a guard that cannot fail is worth nothing."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import shlex
import subprocess
import sys
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from blockbuster import BlockingError
from helpers.command_line import Ran
from helpers.evidence import survives
from helpers.support import expired, open_session
from helpers.watch import Watch

import ezeep_async
from ezeep_async import EzeepError, FileTokenStore, OAuthApp, ServerError, Settings, TokenSet
from ezeep_async._http.transport import Transport
from ezeep_async._wire.converter import encode
from ezeep_async.provisioning.runs.audit import AuditLog, AuditRecord
from ezeep_async.sandbox import Sandbox


async def test_a_test_that_blocks_the_loop_fails(tmp_path: Path) -> None:
    """Reading a token file on the loop, which the store itself does in a thread."""
    store = FileTokenStore(tmp_path / "login.json")
    assert await store.load() is None
    with pytest.raises(BlockingError):
        store._save(TokenSet("access", "refresh", datetime.now(UTC)))


async def test_8_3_an_exposed_secret_is_found(sandbox: Sandbox, watch: Watch) -> None:
    """8-3: in a log line below the level of the test, in a traceback, in an error that no test catches."""
    tokens = sandbox.tokens()
    for expose in (
        lambda: logging.getLogger("ezeep_async.http").debug("sent %s", tokens.access_token),
        lambda: EzeepError(f"with {tokens.refresh_token}"),
    ):
        assert watch.complaints() == []
        expose()
        (complaint,) = watch.complaints()
        assert "<secret>" in complaint
        assert tokens.access_token not in complaint
        watch.output.clear()
    try:
        raise LookupError(tokens.access_token)
    except LookupError:
        logging.getLogger("ezeep_async.auth").exception("failed")
    assert len(watch.complaints()) == 1
    watch.output.clear()


def _in_a_cause(secret: str) -> None:
    with pytest.raises(EzeepError):
        try:
            raise LookupError(secret)
        except LookupError as error:
            raise EzeepError("nothing") from error


def _in_an_attribute(secret: str) -> None:
    with pytest.raises(ServerError):
        raise ServerError("nothing", body={"echo": secret})


def _in_a_variable(secret: str) -> None:
    with pytest.raises(TypeError):
        encode({"token": secret, "other": object()})


def _in_a_warning(secret: str) -> None:
    with pytest.warns(UserWarning):
        warnings.warn(secret, stacklevel=1)


@pytest.mark.parametrize(
    "expose",
    [
        _in_a_cause,
        _in_an_attribute,
        _in_a_variable,
        _in_a_warning,
        lambda secret: OAuthApp(secret, "s3cr3t-enough"),
        lambda secret: Ran(0, f"token {secret}", ""),
    ],
    ids=["cause", "attribute", "variable", "warning", "repr", "command"],
)
def test_8_3_a_secret_is_found_in_all_output(watch: Watch, expose: Callable[[str], None]) -> None:
    """8-3: whatever can be read counts, not the log alone."""
    watch.secrets.add("a-very-secret-token")
    expose("a-very-secret-token")
    assert len(watch.complaints()) == 1
    watch.output.clear()


def test_8_3_what_is_a_secret(watch: Watch) -> None:
    """8-3: client secrets and proxy passwords are, and what is made of them."""
    header = OAuthApp("id", "s3cr3t-enough").basic_authorization()
    Settings(proxy="http://user:pr0xy-enough@proxy.example:3128")
    Settings(proxy="http://proxy.example:3128", proxy_auth=("user", "other-pr0xy"))
    OAuthApp("id").basic_authorization()
    assert watch.secrets == {"s3cr3t-enough", header.removeprefix("Basic "), "pr0xy-enough", "other-pr0xy"}


async def test_3_1_a_token_that_goes_astray_is_noticed(sandbox: Sandbox, watch: Watch) -> None:
    """3-1, 9-5: the watch sees the requests on their way, and where they go."""
    async with open_session(sandbox, stored=sandbox.tokens()) as session:
        await session.accounts.me()
        assert len(watch.authorized) == 1
        assert watch.complaints() == []
        watch.origins.clear()
        (complaint,) = watch.complaints()
        assert complaint.startswith("a token went to http://127.0.0.1:")
        watch.authorized.clear()


@pytest.mark.parametrize(
    ("header", "complaint"),
    [
        ("X-Anything", "a secret was exposed: "),
        ("Cookie", "a cookie went to http://127.0.0.1:"),
        ("Proxy-Authorization", "the credentials for a proxy went to http://127.0.0.1:"),
    ],
)
async def test_8_3_a_secret_in_a_header_is_noticed(
    sandbox: Sandbox, watch: Watch, monkeypatch: pytest.MonkeyPatch, header: str, complaint: str
) -> None:
    """8-3, 9-5: in whichever header of whichever request, but for the one that it belongs into."""
    real = Transport.send

    async def send(transport: Transport, request, headers, **options):
        return await real(transport, request, {**headers, header: "a-very-secret-token"}, **options)

    monkeypatch.setattr(Transport, "send", send)
    watch.secrets.add("a-very-secret-token")
    async with open_session(sandbox, stored=sandbox.tokens()) as session:
        await session.accounts.me()
    (found,) = watch.complaints()
    assert found.startswith(complaint)
    for noted in (watch.output, watch.cookies, watch.past_the_proxy):
        noted.clear()


async def test_8_3_a_secret_in_an_audit_log_is_noticed(watch: Watch, tmp_path: Path) -> None:
    """8-3: a file is read by more people than a log."""
    watch.secrets.add("a-very-secret-token")
    log = AuditLog(tmp_path / "audit.jsonl")
    await log.write(
        AuditRecord(
            run_id=log.run_id,
            time=datetime.now(UTC),
            operation="update",
            outcome="failed",
            error="a-very-secret-token",
        )
    )
    assert len(watch.complaints()) == 1
    watch.output.clear()


def test_the_long_profile_reaches_every_property() -> None:
    """A test that has more or fewer examples than others says so by a factor: a number would be its number for ever."""
    tests = Path(__file__).parent
    fixed = [
        path.name for path in tests.rglob("test_*.py") if re.search(r"max_examples=\d", path.read_text())
    ]
    assert fixed == []


async def test_warnings_are_errors() -> None:
    """Whatever the package is warned of fails its test."""
    with pytest.raises(UserWarning):
        warnings.warn("anything", stacklevel=1)


@pytest.mark.skipif("NOX_CURRENT_SESSION" not in os.environ, reason="only nox tests the built package")
def test_nox_tests_the_built_package() -> None:
    """A file that is missing from the wheel must not be found in the checkout."""
    assert ".nox" in Path(ezeep_async.__file__).parts


@pytest.mark.usefixtures("debug_mode")
async def test_the_debug_mode_is_on_where_it_is_asked_for() -> None:
    """The tests of concurrency run with it."""
    assert asyncio.get_running_loop().get_debug()


@pytest.mark.parametrize("lost", [False, True])
async def test_the_evidence_is_what_was_measured(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: bool
) -> None:
    """A login that is lost is noted as lost, also where it would still have worked for a call."""
    monkeypatch.setenv("EVIDENCE", str(tmp_path / "evidence"))
    tokens = sandbox.tokens()
    if lost:
        sandbox._grants.refresh(tokens.refresh_token)  # by another client
        sandbox.behaviour.grace_window = 0.0
    async with open_session(sandbox, stored=expired(tokens)) as session:
        assert await survives("a fault", sandbox, session) != lost
    row = json.loads((tmp_path / "evidence").read_text())
    assert row == [
        "a fault",
        bool(sandbox.behaviour.grace_window),
        sandbox.behaviour.reuse_protection,
        0,
        lost,
    ]


_SIGINT_IS_DEFAULT = "import signal; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"


@pytest.mark.slow
@pytest.mark.may_block
def test_a_child_process_can_be_interrupted() -> None:
    said = subprocess.run(
        [sys.executable, "-c", _SIGINT_IS_DEFAULT], check=True, capture_output=True, text=True
    ).stdout
    assert said == "True\n"


@pytest.mark.slow
@pytest.mark.may_block
@pytest.mark.timeout(60)
@pytest.mark.skipif(os.name != "posix", reason="needs a POSIX shell")
def test_a_child_process_can_be_interrupted_when_the_tests_run_in_the_background() -> None:
    test = f"{__file__}::{test_a_child_process_can_be_interrupted.__name__}"
    command = shlex.join([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test])
    ran = subprocess.run(
        ["sh", "-c", f"trap '' INT; exec {command}"], check=False, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stdout
