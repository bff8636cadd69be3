"""The background thread in processes of its own: start, forks, Ctrl-C and the exit of the interpreter."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from ezeep_async.blocking import portal


pytestmark = pytest.mark.slow


HANG = 15  # time limit in seconds; nothing here is expected to take long
FORKS = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")


async def add(a: int, b: int = 0) -> int:
    return a + b


PREAMBLE = """
import asyncio, atexit, logging, os, sys, threading, time
from ezeep_async.blocking import portal

# Debug mode reports slow callbacks, which are frequent on a busy machine.
logging.getLogger("asyncio").addFilter(lambda record: not record.getMessage().startswith("Executing"))
"""


def run_script(
    body: str, *, flags: tuple[str, ...] = ("-X", "dev", "-W", "error")
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *flags, "-c", PREAMBLE + textwrap.dedent(body)],
        check=False,
        capture_output=True,
        text=True,
        timeout=HANG,
    )


def assert_clean(done: subprocess.CompletedProcess[str], stdout: str) -> None:
    assert (done.stdout.split(), done.stderr, done.returncode) == (stdout.split(), "", 0)


# --- start and end -------------------------------------------------------------------------------------------------


def test_5_6_importing_starts_no_thread_and_the_first_call_starts_one() -> None:
    """5-6: no thread and no event loop at import."""
    assert_clean(
        run_script("""
            before = threading.active_count()
            async def f(): return threading.get_ident()
            idents = {portal.run('await f()', f) for _ in range(10)}
            print(before, threading.active_count(), len(idents))
        """),
        "1 2 1",
    )


def test_5_6_threads_with_concurrent_first_calls_share_one_portal() -> None:
    assert_clean(
        run_script("""
            barrier, idents = threading.Barrier(20), []
            async def f(): return threading.get_ident()
            def work():
                barrier.wait()
                idents.append(portal.run('await f()', f))
            threads = [threading.Thread(target=work) for _ in range(20)]
            [t.start() for t in threads]
            [t.join() for t in threads]
            print(len(idents), len(set(idents)))
        """),
        "20 1",
    )


def test_a_loop_that_fails_ends_its_calls_and_the_next_call_starts_another() -> None:
    assert_clean(
        run_script("""
            logging.disable()
            from ezeep_async.errors import SessionClosed
            async def ident(): return threading.get_ident()
            async def hang(): started.set(); await asyncio.Event().wait()
            async def kill(): asyncio.get_running_loop()._selector.close()
            started, outcome = threading.Event(), []
            def work():
                try: portal.run('await f()', hang)
                except BaseException as error: outcome.append(type(error).__name__)
            first, old = portal.run('await f()', ident), portal.current()
            waiting = threading.Thread(target=work); waiting.start(); started.wait()
            try: portal.run('await f()', kill)
            except SessionClosed: pass
            waiting.join(5); old._thread.join(5)
            portal.run('await f()', ident)
            try: old.run("await x", ident)
            except SessionClosed: print("closed")
            print(portal.current() is not old, len(outcome))
        """),
        "closed True 1",
    )


JUPYTER = """
    import types
    from ezeep_async.errors import BlockingCallError
    shell = types.SimpleNamespace({kernel})
    sys.modules["IPython"] = types.SimpleNamespace(get_ipython=lambda: shell)
    async def f(): return 1
    async def inside(): return portal.run('await f()', f)
    async def cell():
        for attempt in (f, inside):
            try: print(portal.run('await f()', attempt))
            except BlockingCallError: print("refused")
    asyncio.run(cell())
"""


def test_5_1_under_an_ipython_kernel_a_call_works_except_on_the_portals_own_loop() -> None:
    assert_clean(run_script(JUPYTER.format(kernel="kernel=object()")), "1 refused")


def test_5_2_ipython_without_a_kernel_is_refused() -> None:
    assert_clean(run_script(JUPYTER.format(kernel="")), "refused refused")


# --- fork ----------------------------------------------------------------------------------------------------------


@FORKS
def test_5_3_after_os_fork_the_child_has_its_own_portal_and_the_parents_continues() -> None:
    assert_clean(
        run_script(
            """
            from ezeep_async.errors import SessionClosed
            async def f(): return os.getpid(), threading.get_ident()
            def check(): return portal.run('await f()', f)[0] == os.getpid()
            check()
            parents = portal.current()
            pid = os.fork()
            if pid == 0:
                right = check() and portal.current() is not parents and parents.inherited
                try: parents.run("await x", f)
                except SessionClosed as error: right = right and "fork" in str(error)
                else: right = False
                os._exit(0 if right else 1)
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
            print(check(), portal.current() is parents)
            """,
            flags=("-X", "dev", "-W", "error", "-W", "ignore::DeprecationWarning"),
        ),
        "0 True True",
    )


@FORKS
def test_5_3_a_child_exits_cleanly_and_does_not_disturb_the_parents_calls() -> None:
    """The child runs its exit handlers and collects its garbage while a call of the parent is in progress."""
    assert_clean(
        run_script(
            """
            import gc
            async def hold(): started.set(); await asyncio.sleep(0); return await asyncio.wait_for(go.wait(), 10)
            async def make(): return asyncio.Event()
            async def f(): return 1
            started, go, outcome = threading.Event(), portal.run('await f()', make), []
            waiting = threading.Thread(target=lambda: outcome.append(portal.run('await f()', hold)), daemon=True)
            waiting.start(); started.wait()
            pid = os.fork()
            if pid == 0:
                del go, waiting
                gc.collect()
                portal.run('await f()', f)
                sys.exit(0)
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
            async def release(): go.set()
            portal.run('await f()', release); waiting.join(10)
            print(outcome[0])
            """,
            flags=("-X", "dev", "-W", "error", "-W", "ignore::DeprecationWarning"),
        ),
        "0 True",
    )


@FORKS
def test_5_3_a_fork_while_another_thread_holds_the_lock_does_not_hang_the_child() -> None:
    assert_clean(
        run_script(
            """
            async def f(): return 1
            held, release = threading.Event(), threading.Event()
            def hold():
                with portal._lock: held.set(); release.wait()
            thread = threading.Thread(target=hold); thread.start(); held.wait()
            pid = os.fork()
            if pid == 0: os._exit(portal.run('await f()', f))
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
            release.set(); thread.join()
            """,
            flags=("-W", "ignore::DeprecationWarning"),
        ),
        "1",
    )


def _in_child(queue: multiprocessing.Queue[tuple[int, int]]) -> None:
    queue.put((os.getpid(), portal.run("await f()", add, 20, b=3)))


@FORKS
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_5_3_multiprocessing_fork() -> None:
    assert portal.run("await f()", add, 1) == 1
    context = multiprocessing.get_context("fork")
    queue: multiprocessing.Queue[tuple[int, int]] = context.Queue()
    child = context.Process(target=_in_child, args=(queue,))
    child.start()
    assert queue.get(timeout=HANG) == (child.pid, 23)
    child.join(HANG)
    assert child.exitcode == 0
    child.close()
    queue.close()
    queue.join_thread()
    assert portal.run("await f()", add, 1) == 1


# --- Ctrl-C --------------------------------------------------------------------------------------------------------


def interrupted(body: str) -> list[str]:
    """Run a script, send it SIGINT for each line "ready" of its output, and return the other lines."""
    script = PREAMBLE + textwrap.dedent(body)
    with subprocess.Popen(
        [sys.executable, "-X", "dev", "-W", "error", "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        timer = threading.Timer(HANG, process.kill)
        timer.start()
        try:
            assert process.stdout is not None and process.stderr is not None
            said: list[str] = []
            for line in process.stdout:
                if line.strip() == "ready":
                    process.send_signal(signal.SIGINT)
                else:
                    said.append(line.strip())
            assert process.stderr.read() == ""
            assert process.wait(HANG) == 0
            return said
        finally:
            timer.cancel()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot send SIGINT to a single process")
def test_5_4_ctrl_c_cancels_the_coroutine_waits_for_its_cleanup_and_is_raised_again() -> None:
    assert interrupted("""
        async def work():
            try:
                print("ready", flush=True)
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0.2)
                print("cleaned up", flush=True)
        async def f(): return "still works"
        try: portal.run('await f()', work)
        except KeyboardInterrupt as error: print("interrupted", type(error.__context__).__name__)
        print(portal.run('await f()', f))
        print(len(portal.current().calls))
    """) == ["cleaned up", "interrupted CancelledError", "still works", "0"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot send SIGINT to a single process")
def test_5_4_a_second_ctrl_c_ends_the_wait() -> None:
    assert interrupted("""
        async def work():
            try:
                print("ready", flush=True)
                await asyncio.Event().wait()
            finally:
                print("ready", flush=True)
                await asyncio.Event().wait()
        try: portal.run('await f()', work)
        except KeyboardInterrupt: print("interrupted")
    """) == ["interrupted"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot send SIGINT to a single process")
def test_5_4_the_wait_for_the_cleanup_is_bounded() -> None:
    assert interrupted("""
        portal.CLEANUP_TIMEOUT_S = 0.1
        async def work():
            try:
                print("ready", flush=True)
                await asyncio.Event().wait()
            finally:
                await asyncio.Event().wait()
        try: portal.run('await f()', work)
        except KeyboardInterrupt: print("interrupted")
    """) == ["interrupted"]


# --- exit of the interpreter ---------------------------------------------------------------------------------------


SESSION = """
    from ezeep_async.errors import SessionClosed
    class Session:
        def __init__(self): portal.current().sessions[id(self)] = self
        async def aclose(self):
            await asyncio.sleep(0)
            print("closed", flush=True)
    async def f(): return 1
"""


def test_5_5_an_open_session_is_closed_at_exit() -> None:
    assert_clean(run_script(SESSION + "    session = Session()\n"), "closed")


def test_5_5_a_collected_session_is_not_closed_at_exit() -> None:
    assert_clean(run_script(SESSION + "    Session()\n"), "")


def test_5_5_a_session_that_fails_or_hangs_delays_neither_the_other_sessions_nor_the_exit() -> None:
    begin = time.monotonic()
    done = run_script(
        SESSION
        + """
    portal.CLEANUP_TIMEOUT_S = 1.0
    class Failing(Session):
        async def aclose(self): raise ValueError
    class Hanging(Session):
        async def aclose(self):
            try: await asyncio.Event().wait()
            finally: print("cancelled", flush=True)
    sessions = [Failing(), Hanging(), Session()]
    """
    )
    assert_clean(done, "closed cancelled")
    assert time.monotonic() - begin < HANG


def test_5_5_an_exit_handler_can_call_until_the_portal_is_closed() -> None:
    done = run_script("""
        def late():
            async def f(): return 1
            try: portal.run('await f()', f)
            except portal.SessionClosed: print("refused", portal._exiting)
        async def f(): return "works"
        portal.run('await f()', f)
        # Exit handlers run in reverse order: this puts one behind the portal's own.
        atexit.unregister(portal._at_exit)
        atexit.register(late)
        atexit.register(portal._at_exit)
        atexit.register(lambda: print(portal.run('await f()', f)))
    """)
    assert_clean(done, "works refused True")


@pytest.mark.parametrize("started", [True, False])
def test_5_5_a_call_from_del_while_modules_are_torn_down_is_refused(started: bool) -> None:
    done = run_script(f"""
        import builtins
        async def f(): return 1
        class Late:
            def __del__(self, portal=portal, closed=portal.SessionClosed, write=os.write):
                try: portal.run('await f()', f)
                except closed: write(1, b"refused\\n")
        builtins.late = Late()
        if {started}: portal.run('await f()', f)
    """)
    assert_clean(done, "refused")


def test_5_5_daemon_threads_with_calls_in_progress_print_nothing_and_do_not_delay_the_exit() -> None:
    done = run_script("""
        async def hang(): started.release(); await asyncio.Event().wait()
        async def quick(): await asyncio.sleep(0)
        started = threading.Semaphore(0)
        def again():
            started.release()
            while True: portal.run('await f()', quick)
        for target in (lambda: portal.run('await f()', hang), again) * 4: threading.Thread(target=target, daemon=True).start()
        for _ in range(8): started.acquire()
    """)
    assert_clean(done, "")
