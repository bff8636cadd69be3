"""Endpoints and settings: frozen, checked when they are made, and read from the environment."""

from __future__ import annotations

import inspect
import math
from pathlib import Path
from typing import Any

import attrs
import pytest

from ezeep_async import Endpoints, EzeepError, EzeepSession, FileTokenStore, InsecureEndpoint, Settings


DEFAULTS = {
    "connect_timeout": 10.0,
    "read_timeout": 30.0,
    "deadline": 300.0,
    "retries": 4,
    "max_retry_after": 120.0,
    "concurrency": 32,
    "requests_per_second": None,
    "leeway": 60.0,
    "refresh_timeout": 30.0,
    "proxy": None,
    "proxy_auth": None,
    "ssl_context": None,
    "shared_locks": True,
    "trust_env": False,
}
ZERO_ALLOWED = {"retries", "max_retry_after", "leeway"}
NUMBERS = [
    name for name, value in DEFAULTS.items() if isinstance(value, float) or name in {"retries", "concurrency"}
]


def test_defaults_are_those_of_the_design() -> None:
    """DESIGN "Names": every setting and its default."""
    assert attrs.asdict(Settings()) == DEFAULTS
    assert [field.name for field in attrs.fields(Settings)] == list(DEFAULTS)


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [-1, math.nan, "5", None, True, [], -0.001])
def test_numbers_that_make_no_sense_are_refused(name: str, value: Any) -> None:
    """Bad settings are a `ValueError` that names the setting, when they are made."""
    with pytest.raises(ValueError, match=name):
        Settings(**{name: value})


@pytest.mark.parametrize("name", NUMBERS)
def test_zero_where_it_makes_sense(name: str) -> None:
    """Zero retries, leeway and patience are settings; zero time and zero slots are not."""
    if name in ZERO_ALLOWED:
        assert getattr(Settings(**{name: 0}), name) == 0
    else:
        with pytest.raises(ValueError, match=name):
            Settings(**{name: 0})


@pytest.mark.parametrize("name", ["retries", "concurrency"])
def test_counts_are_whole(name: str) -> None:
    """Half a retry is none."""
    with pytest.raises(ValueError, match=name):
        Settings(**{name: 1.5})  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [0, -1, "1", True])
def test_a_rate_is_positive_or_none(value: Any) -> None:
    """`requests_per_second` is a positive number or None."""
    assert Settings(requests_per_second=None).requests_per_second is None
    assert Settings(requests_per_second=2.5).requests_per_second == 2.5
    with pytest.raises(ValueError, match="requests_per_second"):
        Settings(requests_per_second=value)


def test_settings_are_frozen_and_named() -> None:
    """Settings cannot be changed, nor given by position."""
    settings = Settings()
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        settings.retries = 1  # type: ignore[misc]
    with pytest.raises(TypeError):
        Settings(1.0)  # type: ignore[misc]
    assert Settings(retries=1) == Settings(retries=1)


def test_3_13_no_proxy_password_in_the_repr() -> None:
    """3-13, 8-3: neither of the two places of a proxy password is shown."""
    settings = Settings(proxy="http://who:topsecret@proxy.example:3128", proxy_auth=("who", "topsecret"))
    assert "topsecret" not in repr(settings)
    assert "proxy.example" in repr(settings)


@pytest.mark.parametrize(
    "proxy", ["", "nonsense", "proxy.example:3128", "ftp://x.example", "socks5://127.0.0.1:1"]
)
def test_3_13_a_proxy_that_is_none_is_refused_when_it_is_given(proxy: str) -> None:
    """3-13: what is not the address of an http proxy is a `ValueError` that names the setting, before any call."""
    with pytest.raises(ValueError, match="proxy"):
        Settings(proxy=proxy)


def test_3_13_no_way_to_switch_certificates_off() -> None:
    """3-13: there is no `verify=False`."""
    assert not {"verify", "verify_ssl", "ssl"} & set(inspect.signature(Settings).parameters)


def test_endpoints_are_ezeeps_own_by_default() -> None:
    """DESIGN: the two hosts."""
    assert Endpoints() == Endpoints(account="https://account.ezeep.com", api="https://api2.ezeep.com")


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8080",
        "http://127.8.8.8:1",
        "http://localhost:8000",
        "http://[::1]:9",
        "https://x.example",
    ],
)
def test_3_3_https_and_loopback(url: str) -> None:
    """3-3: https anywhere, http on this machine."""
    assert Endpoints(account=url, api=url).api == url


@pytest.mark.parametrize(
    "url",
    [
        "http://api2.ezeep.com",
        "HTTP://api2.ezeep.com",
        "http://10.0.0.1",
        "http://0.0.0.0",
        "http://localhost.example",
        "http://127.0.0.1.example",
        "http://notlocalhost",
        "http://[::ffff:8.8.8.8]",
        "http://[2001:db8::1]",
        "ftp://127.0.0.1",
        "file:///etc/passwd",
        "127.0.0.1:80",
        "api2.ezeep.com",
        "//api2.ezeep.com",
        "https://",
        "",
    ],
)
@pytest.mark.parametrize("host", ["account", "api"])
def test_3_3_insecure_endpoints_are_refused(url: str, host: str) -> None:
    """3-3: everything else is refused, with one sentence, as a `ValueError` and an `EzeepError`."""
    with pytest.raises(ValueError) as caught:
        Endpoints(**{host: url})
    assert "\n" not in str(caught.value)


def test_3_3_http_off_loopback_is_insecure_endpoint() -> None:
    """3-3: the class for it."""
    with pytest.raises(InsecureEndpoint) as caught:
        Endpoints(api="http://api2.ezeep.com")
    assert isinstance(caught.value, EzeepError | ValueError)


@pytest.mark.parametrize(
    "url",
    [
        "https://x.example/?a=1",
        "https://x.example/#f",
        "https://u:topsecret@x.example",
        "https://u@x.example",
    ],
)
def test_endpoints_carry_nothing_else(url: str) -> None:
    """No query, no fragment, no user information, and no password in the error."""
    with pytest.raises(ValueError) as caught:
        Endpoints(api=url)
    assert "topsecret" not in str(caught.value)


@pytest.mark.parametrize("bad", [None, 5, b"https://x.example", [], "https://x y", "https://x.example:99999"])
def test_what_is_no_address_is_a_value_error(bad: Any) -> None:
    """Nonsense is refused as nonsense."""
    with pytest.raises(ValueError):
        Endpoints(api=bad)


def test_a_trailing_slash_makes_no_difference() -> None:
    """3-4: addresses with and without it are the same endpoint."""
    assert Endpoints(api="https://x.example/") == Endpoints(api="https://x.example")
    assert Endpoints(api="https://x.example/base/").api == "https://x.example/base"


def test_endpoints_are_frozen() -> None:
    """They cannot be changed."""
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        Endpoints().api = "https://evil.example"  # type: ignore[misc]


def test_endpoints_from_the_environment() -> None:
    """DESIGN: `EZEEP_ACCOUNT_URL`, `EZEEP_API_URL`; what is not set, or empty, is the real service."""
    assert Endpoints.from_env({}) == Endpoints()
    assert Endpoints.from_env({"EZEEP_API_URL": ""}) == Endpoints()
    given = {"EZEEP_ACCOUNT_URL": "http://127.0.0.1:1", "EZEEP_API_URL": "http://127.0.0.1:2"}
    assert Endpoints.from_env(given) == Endpoints(account="http://127.0.0.1:1", api="http://127.0.0.1:2")
    with pytest.raises(InsecureEndpoint):
        Endpoints.from_env({"EZEEP_API_URL": "http://x.example"})


def test_a_session_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """DESIGN: client, secret, redirect, token file and both addresses are read, when it is called."""
    for name, value in {
        "EZEEP_CLIENT_ID": "the-client",
        "EZEEP_CLIENT_SECRET": "topsecret",
        "EZEEP_REDIRECT_URI": "http://127.0.0.1:8400/callback",
        "EZEEP_TOKEN_FILE": str(tmp_path / "tokens.json"),
        "EZEEP_ACCOUNT_URL": "http://127.0.0.1:1",
        "EZEEP_API_URL": "http://127.0.0.1:2",
    }.items():
        monkeypatch.setenv(name, value)
    session = EzeepSession.from_env()
    core = session._core
    assert (core.app.client_id, core.app.client_secret) == ("the-client", "topsecret")
    assert core.app.redirect_uri == "http://127.0.0.1:8400/callback"
    assert core.endpoints == Endpoints(account="http://127.0.0.1:1", api="http://127.0.0.1:2")
    assert isinstance(core._store, FileTokenStore)
    assert "topsecret" not in repr(session)
    assert not (tmp_path / "tokens.json").exists()


def test_without_a_client_id_it_says_so() -> None:
    """One sentence that names the variable."""
    for environ in ({}, {"EZEEP_CLIENT_ID": ""}):
        with pytest.raises(ValueError, match="EZEEP_CLIENT_ID"):
            EzeepSession.from_env(environ)


def test_options_go_before_the_environment() -> None:
    """What is given in code wins."""
    endpoints = Endpoints(api="http://127.0.0.1:7")
    environ = {"EZEEP_CLIENT_ID": "x", "EZEEP_API_URL": "http://127.0.0.1:8"}
    session = EzeepSession.from_env(environ, endpoints=endpoints, settings=Settings(retries=0))
    assert session._core.endpoints == endpoints


@pytest.mark.parametrize(
    "bad",
    [
        "who:topsecret",
        ("topsecret",),
        ("who", "topsecret", ""),
        ("who", b"topsecret"),
        ("topsecret", None),
        5,
    ],
)
def test_3_13_proxy_auth_is_two_texts(bad: Any) -> None:
    """3-13: anything else is a `ValueError` when the settings are made, which does not tell it."""
    with pytest.raises(ValueError, match="proxy_auth") as caught:
        Settings(proxy="http://proxy.example:3128", proxy_auth=bad)
    assert "topsecret" not in str(caught.value)
