"""What users construct refuses arguments of a wrong kind at once, says what to give, and shows no value."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ezeep_async import (
    DesiredState,
    Endpoints,
    EzeepSession,
    FileTokenStore,
    KeyringTokenStore,
    MemoryTokenStore,
    OAuthApp,
    ReadOnlyTokens,
    RedisTokenStore,
    Settings,
    TokenSet,
    run_sync,
)
from ezeep_async.auth.clock import Clock
from ezeep_async.provisioning.runs.audit import AuditLog, read_audit_log
from ezeep_async.sandbox import Sandbox


APP = OAuthApp("client")
TOKENS = TokenSet("access", "refresh", datetime(2030, 1, 1, tzinfo=UTC))
SECRET = "s3cret"


class Half:
    """A store that lacks most of one."""

    async def load(self) -> None: ...


WRONG: list[tuple[str, Callable[[Any], object], Any]] = [
    ("app must be an instance of OAuthApp", EzeepSession, SECRET),
    ("app must be an instance of OAuthApp", EzeepSession, None),
    ("app must be an instance of OAuthApp, not the class OAuthApp", EzeepSession, OAuthApp),
    (r"not a path: EzeepSession\(app, FileTokenStore\(path\)\)", lambda x: EzeepSession(APP, x), SECRET),
    ("store must be a token store, not a path", lambda x: EzeepSession(APP, x), Path(SECRET)),
    ("store must be a token store, not a TokenSet", lambda x: EzeepSession(APP, x), TOKENS),
    ("not the class MemoryTokenStore", lambda x: EzeepSession(APP, x), MemoryTokenStore),
    ("Half, which has no save, clear, lock, check_writable", lambda x: EzeepSession(APP, x), Half()),
    ("store must be a token store, not dict", lambda x: EzeepSession(APP, x), {SECRET: SECRET}),
    ("tokens must be an instance of TokenSet", lambda x: EzeepSession(APP, tokens=x), {"access_token": SECRET}),
    ("tokens must be an instance of TokenSet", lambda x: EzeepSession(APP, tokens=x), SECRET),
    ("endpoints must be an instance of Endpoints", lambda x: EzeepSession(APP, endpoints=x), "https://x.example"),
    ("settings must be an instance of Settings", lambda x: EzeepSession(APP, settings=x), {"retries": 1}),
    ("http must be an instance of ClientSession", lambda x: EzeepSession(APP, http=x), SECRET),
    ("on_token_rotated must be callable", lambda x: EzeepSession(APP, on_token_rotated=x), SECRET),
    ("clock must be a Clock, not int, which has no now, monotonic", lambda x: EzeepSession(APP, clock=x), 3),
    ("clock must be a Clock, not the class Clock", lambda x: EzeepSession(APP, clock=x), Clock),
    ("access_token has the scheme 'Bearer'", lambda x: TokenSet(x, "r", datetime.now(UTC)), f"Bearer {SECRET}"),
    ("session must be an instance of EzeepSession", run_sync, APP),
    ("session must be an instance of EzeepSession, not the class", run_sync, EzeepSession),
    ("the token file must be a str or a pathlib.Path", FileTokenStore, None),
    ("the token file must be a str or a pathlib.Path", FileTokenStore, b"login.json"),
    ("the token file must be a str or a pathlib.Path", FileTokenStore, 3),
    ("the token file needs a name", FileTokenStore, "  "),
    ("the token file has a control character", FileTokenStore, "a\0b"),
    ("the token file has a control character", FileTokenStore, Path("a\nb")),
    ("lock_timeout must be a number of seconds", lambda x: FileTokenStore("f", lock_timeout=x), "120"),
    ("lock_timeout must be a number of seconds", lambda x: FileTokenStore("f", lock_timeout=x), None),
    ("lock_timeout must be a number of seconds from 0 up", lambda x: FileTokenStore("f", lock_timeout=x), -1),
    ("lock_timeout must be a number of seconds from 0 up", lambda x: FileTokenStore("f", lock_timeout=x), float("nan")),
    ("app must be an instance of OAuthApp", FileTokenStore.for_app, SECRET),
    ("endpoints must be an instance of", lambda x: FileTokenStore.for_app(APP, x), "https://x.example"),
    ("the source must be a str or a pathlib.Path", ReadOnlyTokens, TOKENS),
    ("the source must be a str or a pathlib.Path", ReadOnlyTokens, None),
    ("name must be a str", KeyringTokenStore, APP),
    ("folder must be a str or a pathlib.Path", lambda x: KeyringTokenStore(folder=x), 5),
    ("lock_timeout must be a number", lambda x: KeyringTokenStore(lock_timeout=x), SECRET),
    ("MemoryTokenStore takes a TokenSet", MemoryTokenStore, {"access_token": SECRET}),
    ("MemoryTokenStore takes a TokenSet", MemoryTokenStore, SECRET),
    ("redirect_uri must be a str", lambda x: OAuthApp("client", redirect_uri=x), 8400),
    ("scope must be a str", lambda x: OAuthApp("client", scope=x), [5]),
    ("client_secret must be a str", lambda x: OAuthApp("client", x), 5),
    ("not a URL", lambda x: Endpoints(account=x), None),
    ("trust_env must be True or False", lambda x: Settings(trust_env=x), "yes"),
    ("users must be an instance of int", lambda x: Sandbox(users=x), "134"),
    ("groups must be a whole number from 0 up", lambda x: Sandbox(groups=x), -1),
    ("groups must be an instance of Mapping", DesiredState.from_mapping, [("Sales", ["a@example.com"])]),
    ("content must be an instance of bytes", lambda x: DesiredState.from_bytes(x, "csv", source="x"), SECRET),
    ("form must be one of csv, json, yaml", lambda x: DesiredState.from_bytes(b"", x, source="x"), "xml"),
    ("source is JSON text", ReadOnlyTokens, f'{{"access_token": "{SECRET}"}}'),
    ("audit_log must be a str or a pathlib.Path", AuditLog, b"audit.jsonl"),
    ("audit_log needs a name", AuditLog, ""),
    ("audit_log has a control character", read_audit_log, "audit\0.jsonl"),
    ("path must be a str or a pathlib.Path", DesiredState.from_csv, SECRET.encode()),
    ("path must be a str or a pathlib.Path", DesiredState.from_file, None),
    ("redirect_uris must be a tuple", lambda x: Sandbox(redirect_uris=x), "http://127.0.0.1:1/callback"),
]  # shorter than one item a line  # fmt: skip


@pytest.mark.parametrize(("says", "make", "value"), WRONG)
def test_a_wrong_kind_is_refused_where_it_is_given(
    says: str, make: Callable[[Any], object], value: Any
) -> None:
    with pytest.raises((TypeError, ValueError), match=says) as caught:
        make(value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("says", "arguments"),
    [
        ("server must be an address or a redis.asyncio.Redis", (5,)),
        ("server must be an address or a redis.asyncio.Redis", (b"redis://:s3cret@localhost",)),
        ("key must be a str", ("redis://localhost", 5)),
        ("server has a control character", ("redis://local\nhost",)),
    ],
)
def test_a_redis_store_refuses_a_wrong_kind(says: str, arguments: tuple[Any, ...]) -> None:
    pytest.importorskip("redis", reason="the extra redis is not installed")
    with pytest.raises((TypeError, ValueError), match=says) as caught:
        RedisTokenStore(*arguments)
    assert SECRET not in str(caught.value)


def test_a_redis_store_refuses_a_blocking_client() -> None:
    redis = pytest.importorskip("redis", reason="the extra redis is not installed")
    with pytest.raises(TypeError, match=r"not redis\.client\.Redis"):
        RedisTokenStore(redis.Redis())
    for wrong in ("90", 0, -1):
        with pytest.raises((TypeError, ValueError), match="lease must be a number of seconds"):
            RedisTokenStore("redis://localhost", lease=wrong)
    assert RedisTokenStore(' "redis://localhost:6379/0"\n')


def test_a_token_of_a_response_has_no_scheme() -> None:
    """A refresh token works once, so a response with a scheme before its token is not refused."""
    assert TokenSet.from_response({"access_token": "Bearer x"}).access_token == "x"


def test_a_store_that_delegates_is_one() -> None:
    """What has the methods of a store is one, however it has them."""

    class Delegate:
        def __getattr__(self, name: str) -> object:
            return getattr(MemoryTokenStore(), name)

    EzeepSession(APP, Delegate())
