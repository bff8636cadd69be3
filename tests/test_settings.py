"""`Endpoints` and `Settings`: frozen, validated on creation, and read from the environment."""

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
    "shared_pace": None,
    "trust_env": False,
}
ZERO_ALLOWED = {"retries", "max_retry_after", "leeway"}
NUMBERS = [
    name for name, value in DEFAULTS.items() if isinstance(value, float) or name in {"retries", "concurrency"}
]


def test_defaults_of_settings() -> None:
    """Every setting and its default."""
    assert attrs.asdict(Settings()) == DEFAULTS
    assert [field.name for field in attrs.fields(Settings)] == list(DEFAULTS)


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize(
    "value", [-1, math.nan, math.inf, pytest.param(10**400, id="huge"), "5", None, True, [], -0.001]
)
def test_invalid_numbers_are_refused(name: str, value: Any) -> None:
    """An invalid value raises `ValueError` that names the setting, on creation."""
    with pytest.raises(ValueError, match=name):
        Settings(**{name: value})


@pytest.mark.parametrize("name", NUMBERS)
def test_zero_is_valid_for_some_settings(name: str) -> None:
    """Zero is valid for `retries`, `max_retry_after` and `leeway`, and for no other number."""
    if name in ZERO_ALLOWED:
        assert getattr(Settings(**{name: 0}), name) == 0
    else:
        with pytest.raises(ValueError, match=name):
            Settings(**{name: 0})


@pytest.mark.parametrize("name", ["retries", "concurrency"])
def test_counts_are_integers(name: str) -> None:
    """`retries` and `concurrency` refuse fractions."""
    with pytest.raises(ValueError, match=name):
        Settings(**{name: 1.5})


@pytest.mark.parametrize("value", [0, -1, "1", True])
def test_a_rate_is_positive_or_none(value: Any) -> None:
    """`requests_per_second` is a positive number or None."""
    assert Settings(requests_per_second=None).requests_per_second is None
    assert Settings(requests_per_second=2.5).requests_per_second == 2.5
    with pytest.raises(ValueError, match="requests_per_second"):
        Settings(requests_per_second=value)


def test_settings_are_frozen_and_named() -> None:
    """Settings cannot be changed, and take keyword arguments only."""
    settings = Settings()
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        settings.retries = 1
    with pytest.raises(TypeError):
        Settings(1.0)
    assert Settings(retries=1) == Settings(retries=1)


def test_3_13_no_proxy_password_in_the_repr() -> None:
    """3-13, 8-3: the repr redacts the password in `proxy` and omits `proxy_auth`."""
    settings = Settings(proxy="http://who:topsecret@proxy.example:3128", proxy_auth=("who", "topsecret"))
    assert "topsecret" not in repr(settings)
    assert "proxy.example" in repr(settings)


@pytest.mark.parametrize(
    "proxy", ["", "nonsense", "proxy.example:3128", "ftp://x.example", "socks5://127.0.0.1:1"]
)
def test_3_13_an_invalid_proxy_url_is_refused_on_creation(proxy: str) -> None:
    """3-13: a value that is not the URL of an HTTP proxy raises `ValueError` that names the setting."""
    with pytest.raises(ValueError, match="proxy"):
        Settings(proxy=proxy)


def test_3_13_certificate_verification_cannot_be_disabled() -> None:
    """3-13: there is no `verify=False`."""
    assert not {"verify", "verify_ssl", "ssl"} & set(inspect.signature(Settings).parameters)


def test_default_endpoints() -> None:
    """The defaults are the hosts of ezeep Blue."""
    assert Endpoints() == Endpoints(account="https://account.ezeep.com", api="https://api2.ezeep.com")
    assert Endpoints().print == "https://printapi.ezeep.com"


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
    """3-3: https for any host, http for loopback."""
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
@pytest.mark.parametrize("host", ["account", "api", "print"])
def test_3_3_insecure_endpoints_are_refused(url: str, host: str) -> None:
    """3-3: every other URL raises `ValueError` with a message of one line."""
    with pytest.raises(ValueError) as caught:
        Endpoints(**{host: url})
    assert "\n" not in str(caught.value)


def test_3_3_http_for_another_host_raises_insecure_endpoint() -> None:
    """3-3: `InsecureEndpoint` is an `EzeepError` and a `ValueError`."""
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
def test_endpoints_refuse_query_fragment_and_user_information(url: str) -> None:
    """The message does not contain the password."""
    with pytest.raises(ValueError) as caught:
        Endpoints(api=url)
    assert "topsecret" not in str(caught.value)


@pytest.mark.parametrize("bad", [None, 5, b"https://x.example", [], "https://x y", "https://x.example:99999"])
def test_values_that_are_not_urls_raise_value_error(bad: Any) -> None:
    """Wrong types, white space in the host and ports out of range are refused."""
    with pytest.raises(ValueError):
        Endpoints(api=bad)


def test_a_trailing_slash_is_ignored() -> None:
    """3-4: URLs with and without a trailing slash are the same endpoint."""
    assert Endpoints(api="https://x.example/") == Endpoints(api="https://x.example")
    assert Endpoints(api="https://x.example/base/").api == "https://x.example/base"


def test_endpoints_are_frozen() -> None:
    """Endpoints cannot be changed."""
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        Endpoints().api = "https://evil.example"


def test_endpoints_from_the_environment() -> None:
    """`EZEEP_ACCOUNT_URL`, `EZEEP_API_URL` and `EZEEP_PRINT_URL` are read; an unset or empty one leaves the default."""
    assert Endpoints.from_env({}) == Endpoints()
    assert Endpoints.from_env({"EZEEP_API_URL": ""}) == Endpoints()
    given = {"EZEEP_ACCOUNT_URL": "http://127.0.0.1:1", "EZEEP_API_URL": "http://127.0.0.1:2"}
    assert Endpoints.from_env(given) == Endpoints(account="http://127.0.0.1:1", api="http://127.0.0.1:2")
    assert Endpoints.from_env({"EZEEP_PRINT_URL": "http://127.0.0.1:3"}).print == "http://127.0.0.1:3"
    with pytest.raises(InsecureEndpoint):
        Endpoints.from_env({"EZEEP_API_URL": "http://x.example"})


def test_a_session_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Client id, client secret, redirect URI, token file and both URLs are read at the call."""
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


def test_a_missing_client_id_raises_value_error() -> None:
    """The message names the variable."""
    for environ in ({}, {"EZEEP_CLIENT_ID": ""}):
        with pytest.raises(ValueError, match="EZEEP_CLIENT_ID"):
            EzeepSession.from_env(environ)


def test_options_override_the_environment() -> None:
    """Arguments of `from_env` override environment variables."""
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
def test_3_13_proxy_auth_is_two_strings(bad: Any) -> None:
    """3-13: any other value raises `ValueError` on creation; the message does not contain the value."""
    with pytest.raises(ValueError, match="proxy_auth") as caught:
        Settings(proxy="http://proxy.example:3128", proxy_auth=bad)
    assert "topsecret" not in str(caught.value)
