"""The resources of a session as attributes of its class: for `create_autospec`, `help` and completion."""

from __future__ import annotations

import inspect
import pydoc
import sys
import threading
from collections.abc import Callable
from typing import Any
from unittest.mock import AsyncMock, create_autospec

import pytest
from helpers.support import open_session

import ezeep_async
from ezeep_async import BlockingSession, BlockingSessionPool, EzeepSession, SessionPool, run_sync
from ezeep_async.sandbox import Sandbox


RESOURCES = [name for name in EzeepSession.__annotations__ if not name.startswith("_")]
SESSIONS = [EzeepSession, BlockingSession]


def methods_of(resource: object) -> list[str]:
    return [
        name
        for name in dir(resource)
        if not name.startswith("_") and inspect.isroutine(getattr(resource, name, None))
    ]


def is_async(fake: Callable[..., Any], method: Callable[..., Any]) -> bool:
    """Whether a call gives a coroutine. `inspect.iscoroutinefunction` of a mock depends on the version of Python."""
    required = [each for each in inspect.signature(method).parameters.values() if each.default is each.empty]
    result = fake(*(None for each in required if each.kind is each.POSITIONAL_OR_KEYWORD))
    if inspect.iscoroutine(result):
        result.close()
        return True
    return False


def test_every_resource_is_an_attribute_of_the_class() -> None:
    """With an annotation, and of a type that is a public name: `Groups` of `groups`."""
    assert len(RESOURCES) >= 13
    assert BlockingSession.__annotations__ == {
        name: f"Blocking{kind}" for name, kind in EzeepSession.__annotations__.items()
    }
    for session in SESSIONS:
        for name, kind in session.__annotations__.items():
            on_class = getattr(session, name)
            assert type(on_class) is getattr(ezeep_async, kind)
            assert on_class is getattr(session, name)
            assert name in dir(session)


def test_a_resource_of_an_instance_is_made_once(session: EzeepSession) -> None:
    with_session = [getattr(session, name) for name in RESOURCES]
    assert all(
        getattr(session, name) is resource for name, resource in zip(RESOURCES, with_session, strict=True)
    )
    assert session.groups is not EzeepSession.groups
    assert vars(session)["groups"] is session.groups


def test_threads_get_the_same_resource(sandbox: Sandbox) -> None:
    """Also where both read it first."""
    blocking = BlockingSession(open_session(sandbox))
    found: set[int] = set()
    start = threading.Barrier(4)

    def read() -> None:
        start.wait()
        found.add(id(blocking.groups))

    threads = [threading.Thread(target=read) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(found) == 1


def test_a_program_can_replace_a_resource(session: EzeepSession, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with an ordinary attribute: of one session, and of the class."""
    fake: Any = object()
    session.groups = fake
    assert session.groups is fake
    monkeypatch.setattr(EzeepSession, "users", fake)
    assert session.users is fake


async def test_an_autospec_of_a_session_has_async_methods() -> None:
    """Signatures are checked, and a method that does not exist is an error."""
    fake = create_autospec(EzeepSession, instance=True)
    fake.groups.get.return_value = "group"
    assert await fake.groups.get("id") == "group"
    fake.groups.get.assert_awaited_once_with("id")
    with pytest.raises(TypeError, match="argument"):
        await fake.groups.get()
    with pytest.raises(TypeError, match="argument"):
        await fake.users.set_groups("id", groups=[])
    with pytest.raises(AttributeError):
        fake.groups.remove
    with pytest.raises(TypeError, match="not callable"):
        fake.groups()
    assert not isinstance(fake.groups.list, AsyncMock)
    assert isinstance(fake.groups, ezeep_async.Groups)


async def test_an_autospec_that_is_opened_or_viewed() -> None:
    """As docs/how-to/testing.md says."""
    session = create_autospec(EzeepSession, instance=True)
    session.__aenter__.return_value = session.with_options.return_value = session
    session.users.get.return_value = "user"
    async with session as opened:
        assert await opened.with_options(retries=0).users.get("id") == "user"
    session.with_options.assert_called_once_with(retries=0)


@pytest.mark.parametrize("name", RESOURCES)
@pytest.mark.parametrize("whole", [False, True], ids=["instance", "class"])
def test_an_autospec_has_all_methods_of_all_resources(name: str, whole: bool) -> None:
    """Each async where the method is, and each with its signature."""
    fake = (
        create_autospec(EzeepSession).return_value if whole else create_autospec(EzeepSession, instance=True)
    )
    resource = getattr(EzeepSession, name)
    assert methods_of(resource)
    for method in methods_of(resource):
        fake_method, method_of_class = getattr(getattr(fake, name), method), getattr(resource, method)
        assert is_async(fake_method, method_of_class) == inspect.iscoroutinefunction(method_of_class)
        with pytest.raises(TypeError):
            fake_method(unknown=1)


@pytest.mark.parametrize("name", RESOURCES)
def test_an_autospec_of_a_blocking_session_blocks(name: str) -> None:
    """No method is async, and each has its signature."""
    fake = create_autospec(BlockingSession, instance=True)
    resource = getattr(BlockingSession, name)
    assert methods_of(resource) == methods_of(getattr(EzeepSession, name))
    for method in methods_of(resource):
        fake_method = getattr(getattr(fake, name), method)
        assert not is_async(fake_method, getattr(resource, method))
        with pytest.raises(TypeError):
            fake_method(unknown=1)


@pytest.mark.parametrize("pool", [SessionPool, BlockingSessionPool])
def test_an_autospec_of_a_pool(pool: Any) -> None:
    """With the methods of `oauth`, as the session has those of its resources."""
    fake = create_autospec(pool, instance=True)
    assert {"complete", "exchange_code", "pair"} <= {*methods_of(pool.oauth)}
    for method in methods_of(pool.oauth):
        of_class = getattr(pool.oauth, method)
        assert is_async(getattr(fake.oauth, method), of_class) == inspect.iscoroutinefunction(of_class)
        with pytest.raises(TypeError):
            getattr(fake.oauth, method)(unknown=1)
    assert " oauth = <" in pydoc.render_doc(pool, renderer=pydoc.plaintext)


def test_help_shows_the_resources() -> None:
    for session in SESSIONS:
        text = pydoc.render_doc(session, renderer=pydoc.plaintext)
        for name in RESOURCES:
            assert f" {name} = <" in text
    assert "get(self, group_id" in pydoc.render_doc(EzeepSession.groups, renderer=pydoc.plaintext)


TASK = """from ezeep_async import BlockingSession, EzeepSession, run_sync

async def f(session: EzeepSession, blocking: BlockingSession, app) -> None:
    async with EzeepSession(app) as opened:
        with run_sync(EzeepSession(app)) as made:
            """


@pytest.mark.slow
@pytest.mark.may_block
@pytest.mark.parametrize("variable", ["session", "blocking", "opened", "made"])
def test_jedi_completes_from_annotations(
    variable: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An editor that runs nothing offers the resources, with their documentation, and their methods."""
    jedi = pytest.importorskip("jedi", reason="jedi is not installed")
    # Not the cache of the user, which other processes write at the same time.
    monkeypatch.setattr(jedi.settings, "cache_directory", str(tmp_path_factory.getbasetemp() / "jedi"))

    def completed(code: str) -> dict[str, Any]:
        source = TASK + code
        line, column = source.count("\n") + 1, len(source.splitlines()[-1])
        return {each.name: each for each in jedi.Script(source).complete(line, column)}

    offered = completed(f"{variable}.")
    assert offered.keys() >= {*RESOURCES, "with_options", "background"}
    assert "Groups and their members" in offered["groups"].docstring()
    for name in RESOURCES if variable == "session" else ["groups"]:
        assert completed(f"{variable}.{name}.").keys() >= {*methods_of(getattr(EzeepSession, name))}


@pytest.fixture
def completed() -> Callable[[str, bool, dict[str, object]], set[str]]:
    """Completions of IPython."""
    pytest.importorskip("IPython", reason="IPython is not installed")
    from IPython.core.completer import IPCompleter, provisionalcompleter
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell()

    def complete(text: str, use_jedi: bool, names: dict[str, object]) -> set[str]:
        completer = IPCompleter(shell=shell, namespace=names, use_jedi=use_jedi, parent=shell)
        with provisionalcompleter():
            return {each.text.rpartition(".")[2] for each in completer.completions(text, len(text))}

    return complete


@pytest.mark.slow
@pytest.mark.may_block
@pytest.mark.parametrize("use_jedi", [True, False], ids=["jedi", "dir"])
def test_ipython_completes_a_session(
    sandbox: Sandbox, completed: Callable[[str, bool, dict[str, object]], set[str]], use_jedi: bool
) -> None:
    """With jedi and without, before a resource is first used."""
    session = open_session(sandbox)
    names = {"session": session, "blocking": run_sync(session), "EzeepSession": EzeepSession}
    for name in names:
        assert completed(f"{name}.", use_jedi, names) >= {*RESOURCES}
        for resource in RESOURCES:
            methods = {*methods_of(getattr(EzeepSession, resource))}
            assert completed(f"{name}.{resource}.", use_jedi, names) >= methods


def test_importing_a_session_imports_no_resource_that_is_not_used() -> None:
    """See tests/test_package.py for the import of the package; here the modules behind the attributes."""
    assert "ezeep_async.session" in sys.modules
    assert not any(
        isinstance(value, type) and value.__module__.startswith("ezeep_async.resources")
        for value in vars(sys.modules["ezeep_async.session"]).values()
    )
