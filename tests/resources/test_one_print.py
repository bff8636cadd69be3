"""Never two prints: faults at every step, cancellation at every step, and large documents in bounded memory."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import attrs
import pytest
from helpers.stub_servers import nothing_running
from helpers.support import QUICK, sandbox_in_a_thread
from hypothesis import given
from hypothesis import strategies as st

from ezeep_async import EzeepError, EzeepSession, OutcomeUnknown, PrintFailed, PrintJob
from ezeep_async._http.sender import Sender
from ezeep_async.resources import _sources, _uploads
from ezeep_async.sandbox import Sandbox


ROUTES = {
    "prepare": "GET /sfapi/PrepareUpload/",
    "upload": "PUT /userstorage/{id}",
    "print": "POST /sfapi/Print/",
    "status": "GET /sfapi/Status/",
}
FAULTS: list[dict[str, Any]] = [
    {"drop": "upload"},
    {"drop": "before"},
    {"drop": "after"},
    {"status": 401},
    {"status": 403},
    {"status": 412},
    {"status": 429},
    {"status": 429, "retry_after": 0.001},
    {"status": 500},
    {"status": 500, "processed": True},
    {"status": 502, "processed": True},
    {"status": 503},
    {"status": 503, "processed": True},
    {"status": 503, "retry_after": 0.001},
    {"status": 504, "processed": True},
    {"status": 302, "headers": {"Location": "/elsewhere"}},
    {"body": "<html>"},
    {"body": "{}"},
    {"code": 804},
]
SCRIPT = st.lists(
    st.tuples(st.sampled_from(sorted(ROUTES)), st.integers(1, 6), st.sampled_from(range(len(FAULTS)))),
    min_size=1,
    max_size=6,
)


@contextlib.contextmanager
def small_blocks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_sources, "BLOCK", 1000)
        patch.setattr(_sources, "KEPT", 2000)
        patch.setattr(_uploads, "LARGEST_SINGLE", 4000)
        patch.setitem(Sender.__init__.__kwdefaults__, "rng", lambda: 0.0)
        yield


async def tried(session: EzeepSession, source: object) -> PrintJob | EzeepError:
    try:
        printer = await session.printers.find("Front desk laser")
        return await session.printing.print_file(source, printer, type="pdf")  # type: ignore[arg-type]  # wrong on purpose
    except EzeepError as error:
        return error


@pytest.mark.slow
@given(SCRIPT, st.sampled_from([10, 4500]), st.booleans())
async def test_faults_at_every_step(script: list[tuple[str, int, int]], size: int, is_stream: bool) -> None:
    """At most one print, one clear outcome that is true, and no token at the storage (the sandbox checks that)."""
    data = bytes(size)
    with small_blocks():
        async with (
            Sandbox(users=3, groups=1, job_seconds=0.0) as sandbox,
            EzeepSession(
                sandbox.oauth_app, tokens=sandbox.tokens(), endpoints=sandbox.endpoints,
                settings=attrs.evolve(QUICK, retries=2),
            ) as session,
        ):  # shorter than one item a line  # fmt: skip
            for step, nth, number in script:
                sandbox.faults.add(ROUTES[step], nth=nth, **FAULTS[number])
            outcome = await tried(session, iter([data[:100], data[100:]]) if is_stream else data)
            prints = len(sandbox.printed)
            assert prints <= 1
            if isinstance(outcome, PrintJob):
                assert prints == 1
                assert sandbox.printed[0].content == data
                with contextlib.suppress(EzeepError):
                    assert (await outcome.wait(interval=0.001, timeout=2.0)).succeeded
            elif not outcome.may_have_happened:
                assert prints == 0
            else:
                assert isinstance(outcome, OutcomeUnknown)
            assert sandbox.storage.leaks == []
            assert len(sandbox.printed) == prints


@pytest.mark.slow
@pytest.mark.parametrize("size", [10, 4500])
async def test_cancellation_at_every_step(size: int) -> None:
    """The document is printed once or not at all, nothing goes on in the background, and the session works."""
    with small_blocks():
        async with (
            Sandbox(users=3, groups=1) as sandbox,
            EzeepSession(
                sandbox.oauth_app, tokens=sandbox.tokens(), endpoints=sandbox.endpoints, settings=QUICK
            ) as session,
        ):
            await tried(session, b"first")
            steps = 0
            while True:
                data = b"%06d" % steps + bytes(size)
                task = asyncio.create_task(tried(session, data))
                for _ in range(steps):
                    await asyncio.sleep(0)
                if task.done():
                    break
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                steps += 1
            async with nothing_running():
                pass
            contents = [each.content for each in sandbox.printed]
            assert len(contents) == len(set(contents))
            assert steps > 10
            assert isinstance(await tried(session, b"last"), PrintJob)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(FAULTS)))
async def test_each_fault_of_the_print_request(sandbox: Sandbox, number: int) -> None:
    """With the fault at every print request."""
    with small_blocks():
        async with EzeepSession(
            sandbox.oauth_app, tokens=sandbox.tokens(), endpoints=sandbox.endpoints, settings=QUICK
        ) as session:
            sandbox.faults.add(ROUTES["print"], times=None, **FAULTS[number])
            outcome = await tried(session, b"x")
    assert isinstance(outcome, EzeepError)
    assert len(sandbox.printed) <= 1
    assert isinstance(outcome, OutcomeUnknown) or not sandbox.printed
    assert isinstance(outcome, PrintFailed) is (FAULTS[number] == {"code": 804})


UPLOADING = """
import asyncio, json, resource, sys
from ezeep_async import Endpoints, EzeepSession, OAuthApp, PrintOptions, TokenSet

SIZE, PIECE = int(sys.argv[1]), 3 * 2**20 + 1
job = json.loads(sys.stdin.read())

def document():
    piece = bytes(PIECE)
    for start in range(0, SIZE, PIECE):
        yield piece[: SIZE - start]

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "linux" else 2**20)

async def main():
    tokens = TokenSet.from_response(job["tokens"])
    endpoints = Endpoints(*job["endpoints"])
    async with EzeepSession(OAuthApp(job["client"]), tokens=tokens, endpoints=endpoints) as session:
        printer = await session.printers.find("Front desk laser")
        await session.printing.print_file(b"warm", printer, PrintOptions(copies=1), type="pdf")
        before = peak()
        await session.printing.print_file(document(), printer, type="pdf")
        print(peak() - before)

asyncio.run(main())
"""


@pytest.mark.slow
@pytest.mark.may_block
@pytest.mark.timeout(300)
def test_two_gibibytes_in_bounded_memory() -> None:
    """The peak of the resident memory grows by at most 30 MiB."""
    size = 2 * 2**30
    with sandbox_in_a_thread(keep_documents=False) as sandbox:
        tokens = sandbox.tokens()
        job = {
            "client": sandbox.oauth_app.client_id,
            "tokens": {
                "access_token": tokens.access_token,
                "refresh_token": tokens.refresh_token,
                "expires_in": 3600,
            },
            "endpoints": [sandbox.endpoints.account, sandbox.endpoints.api, sandbox.endpoints.print],
        }
        out = subprocess.run(
            [sys.executable, "-c", UPLOADING, str(size)],
            input=json.dumps(job), capture_output=True, text=True, check=True,
        ).stdout  # shorter than one item a line  # fmt: skip
        assert sandbox.printed[-1].size == size
    assert int(out) <= 30, out
