"""`Endpoints` and `Settings`: frozen records that validate their values on creation."""

from __future__ import annotations

import ipaddress
import math
import os
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, Self, TypedDict, cast, runtime_checkable

import attrs
from yarl import URL

from ezeep_async._text.cleaning import cleaned, variable
from ezeep_async._text.redaction import clears_arguments, clears_locals
from ezeep_async.errors import InsecureEndpoint


def is_loopback(host: str | None) -> bool:
    """Return whether `host` is `localhost` or a loopback address."""
    if host is None:
        return False
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _base_url(value: str) -> str:
    """Validate a base URL and remove its trailing slash."""
    try:
        url = URL(cleaned(value, "an endpoint") if isinstance(value, str) else value)
    except (ValueError, TypeError) as error:
        raise ValueError(f"not a URL: {value!r}. Pass one such as 'https://api2.ezeep.com'") from error
    if url.user is not None or url.password is not None:
        # Without the value: it may contain a password.
        raise ValueError("the endpoint contains a user name or a password: remove it")
    if url.scheme != "https" and not (url.scheme == "http" and is_loopback(url.host)):
        raise InsecureEndpoint(
            f"{value!r} is not https: use https://. Tokens are sent over http to loopback addresses only"
        )
    if not url.host or any(character.isspace() for character in url.host):
        raise ValueError(f"not a URL: {value!r} has no valid host")
    if url.query_string or url.fragment:
        raise ValueError(f"the endpoint {value!r} has a query or a fragment: remove it")
    return str(url).rstrip("/")


@clears_arguments
@attrs.frozen
class Endpoints:
    """Base URLs of the three services.

    A trailing slash is ignored. URLs must use https; http is allowed for loopback addresses.

    Args:
        account: Base URL of the account service.
        api: Base URL of the printing API: groups, users, printers and their administration.
        print: Base URL of the print API: printers of the logged-in user, uploads and print jobs.

    Raises:
        InsecureEndpoint: A URL uses http for a host that is not loopback, or another scheme.
        ValueError: A value is not a URL, or the URL has a user name, a password, a query or a fragment.

    Note:
        docs/ezeep-api.md#hosts
    """

    account: str = attrs.field(default="https://account.ezeep.com", converter=_base_url)
    """OAuth2, account users and invitations. Default: `https://account.ezeep.com`."""
    api: str = attrs.field(default="https://api2.ezeep.com", converter=_base_url)
    """Groups, users and other printing resources. Default: `https://api2.ezeep.com`."""
    print: str = attrs.field(default="https://printapi.ezeep.com", converter=_base_url)
    """Printers of the logged-in user, and print jobs. Default: `https://printapi.ezeep.com`."""

    @classmethod
    @clears_locals
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Create endpoints from `EZEEP_ACCOUNT_URL`, `EZEEP_API_URL` and `EZEEP_PRINT_URL`.

        Args:
            environ: Environment variables; `os.environ` by default.

        Returns:
            The endpoints. A variable that is unset or empty leaves the default.

        Raises:
            InsecureEndpoint: As for `Endpoints`.
            ValueError: As for `Endpoints`.
        """
        environ = os.environ if environ is None else environ
        names = {field.name: f"EZEEP_{field.name.upper()}_URL" for field in attrs.fields(cls)}
        given = {field: variable(environ, name) for field, name in names.items()}
        return cls(**{field: value for field, value in given.items() if value})


def _must_be(
    expected: str, accepts: Callable[[Any], bool], *, is_secret: bool = False
) -> Callable[[object, attrs.Attribute[Any], object], None]:
    """A validator that raises `ValueError`, without the value if that may contain a password."""

    def validate(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if not accepts(value):
            found = "" if is_secret else f", not {value!r}"
            raise ValueError(f"{attribute.name} must be {expected}{found}")

    return validate


@runtime_checkable
class CoolDownChannel(Protocol):
    """Where processes share their cool-downs, for `Settings.shared_pace`. `SharedPace` is one, on Redis.

    It must be hashable, and serve every event loop of a process and of its forked children. Its methods may raise any
    exception: the session logs one warning, makes its calls as without a channel, and tries again later.
    """

    async def announce(self, host: str, seconds: float, /) -> None:
        """Report to all listeners that no request shall be sent to a host for a time.

        Args:
            host: Base URL of the host.
            seconds: Length of the cool-down. A shorter one does not end a longer one that is in force.
        """
        ...

    def listen(self) -> AbstractAsyncContextManager[AsyncIterator[Mapping[str, float]]]:
        """Receive cool-downs, those of this process too.

        Returns:
            A context manager of an iterator over mappings of base URLs to the seconds that are left. The first mapping
            has all cool-downs in force, and is empty without any. It ends when its task is cancelled.
        """
        ...


def _is_number(value: Any, kind: Any = (int, float)) -> bool:
    try:
        return isinstance(value, kind) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an int that no float can hold
        return False


def _is_http_url(value: object) -> bool:
    try:
        url = URL(value) if isinstance(value, str) else None
    except ValueError:
        return False
    return url is not None and url.scheme in {"http", "https"} and bool(url.host)


def _is_two_strings(value: object) -> bool:
    return isinstance(value, tuple) and [type(part) for part in cast("tuple[object]", value)] == [str, str]


_positive = _must_be("a positive number", lambda value: _is_number(value) and value > 0)
_not_negative = _must_be("a number of at least 0", lambda value: _is_number(value) and value >= 0)
_count = _must_be("an integer of at least 0", lambda value: _is_number(value, int) and value >= 0)
_positive_count = _must_be("an integer of at least 1", lambda value: _is_number(value, int) and value >= 1)
_flag = _must_be("True or False", lambda value: value is True or value is False)
_channel = _must_be(
    "a SharedPace or another object with `announce` and `listen`",
    lambda value: isinstance(value, CoolDownChannel) and not isinstance(value, type),
)
# aiohttp takes False as "do not verify certificates".
_tls = _must_be("an ssl.SSLContext", lambda value: isinstance(value, ssl.SSLContext))
_proxy = _must_be(
    "an http:// or https:// URL, such as http://proxy.example:3128", _is_http_url, is_secret=True
)
_two_strings = _must_be("a tuple of two strings: (user name, password)", _is_two_strings, is_secret=True)


def _clean_proxy(value: str | None) -> str | None:
    return cleaned(value, "proxy") if isinstance(value, str) else value


def _without_password(value: str | None) -> str:
    url = URL(value or "")
    return repr(str(url.with_password("***"))) if url.password else repr(value)


@clears_arguments
@attrs.frozen(kw_only=True)
class Settings:
    """Time limits, retries, rate limits and connection options of a session.

    All arguments are keyword-only. Times are in seconds and count only while the process runs, not while it is
    suspended.

    Raises:
        ValueError: A value has the wrong type or is out of range.
    """

    connect_timeout: float = attrs.field(default=10.0, validator=_positive)
    """Seconds to open a connection, TLS included; more than 0. Default: 10.

    Includes name resolution and the proxy's response, unless the session borrows an aiohttp session."""
    read_timeout: float = attrs.field(default=30.0, validator=_positive)
    """Seconds without data from the API before a request fails; more than 0. Default: 30.

    Requests to the OAuth endpoints use `refresh_timeout` instead."""
    deadline: float = attrs.field(default=300.0, validator=_positive)
    """Seconds for one call, its retries and back-off included; more than 0. Default: 300.

    The time that a call waits for a slot of the limiter does not count. A method that makes several different requests, such
    as `printing.print_file`, has this time for each of them: `asyncio.timeout` limits the whole method."""
    retries: int = attrs.field(default=4, validator=_count)
    """Retries of one call after its first attempt, and twice as many after a 429; 0 or more. Default: 4.

    With 0 no failed request is retried; a 401 is still replayed once with a new token. To retry in your own code, use
    `is_retryable(error)` and `error.retry_after`."""
    max_retry_after: float = attrs.field(default=120.0, validator=_not_negative)
    """Longest `Retry-After` in seconds to wait for; 0 or more. Default: 120.

    A longer one is not waited for: the error (`RateLimited` or `ServerError`) is raised at once. After a 429, later
    calls to the same host wait this long before they start."""
    concurrency: int = attrs.field(default=32, validator=_positive_count)
    """Concurrent API requests of one session to each host; 1 or more. Default: 32."""
    requests_per_second: float | None = attrs.field(
        default=None, validator=attrs.validators.optional(_positive)
    )
    """API requests per second to each host; more than 0, or None to rely on the server's rate limits. Default: None."""
    leeway: float = attrs.field(default=60.0, validator=_not_negative)
    """Seconds before expiry at which an access token is refreshed; 0 or more. Default: 60.

    At most a fifth of the token's lifetime is used."""
    refresh_timeout: float = attrs.field(default=30.0, validator=_positive)
    """Seconds for one token refresh, its retries included, or one other OAuth request; more than 0. Default: 30.

    Does not depend on the time limits of the waiters. The replay of a token refresh whose response was lost has the
    same time again."""
    proxy: str | None = attrs.field(
        default=None,
        converter=_clean_proxy,
        validator=attrs.validators.optional(_proxy),
        repr=_without_password,
    )
    """URL of an HTTP proxy for all hosts, such as `http://proxy.example:3128`, or None. Default: None."""
    proxy_auth: tuple[str, str] | None = attrs.field(
        default=None, validator=attrs.validators.optional(_two_strings), repr=False
    )
    """User name and password for the proxy, if its URL does not contain them. Default: None."""
    ssl_context: ssl.SSLContext | None = attrs.field(default=None, validator=attrs.validators.optional(_tls))
    """TLS context for all hosts, for a private certificate authority or a client certificate. Default: None."""
    shared_locks: bool = attrs.field(default=True, validator=_flag)
    """Lock changes of the groups of a user or a printer, and `groups.ensure`, across processes. Default: True.

    The lock is shared by the processes whose token stores are in one database, on one Redis server or in one folder
    (docs/how-to/processes.md). With False, only the sessions of one process wait for each other."""
    shared_pace: CoolDownChannel | None = attrs.field(
        default=None, validator=attrs.validators.optional(_channel)
    )
    """Share the cool-downs after 429 responses with other processes, as `SharedPace` does on Redis. Default: None.

    The sessions of one event loop that have the same channel and the same limits then also share their limiter."""
    trust_env: bool = attrs.field(default=False, validator=_flag)
    """Use the proxies in HTTP_PROXY, HTTPS_PROXY and NO_PROXY, read once when the session opens. Default: False."""


class CallOptions(TypedDict, total=False):
    """The fields of `Settings` that concern one call, for `EzeepSession.with_options`."""

    deadline: float
    connect_timeout: float
    read_timeout: float
    retries: int
    max_retry_after: float


def call_options(settings: Settings) -> CallOptions:
    """The options of one call, as the settings have them."""
    return cast("CallOptions", {name: getattr(settings, name) for name in CallOptions.__annotations__})


def changed_for_calls(settings: Settings, options: CallOptions) -> Settings:
    """The settings with other options for calls. Raises `TypeError` for what is no such option."""
    if wrong := options.keys() - CallOptions.__annotations__.keys():
        raise TypeError(
            f"{', '.join(sorted(wrong))}: not an option of one call, as {', '.join(CallOptions.__annotations__)} are. Pass what "
            "concerns the whole session to EzeepSession(app, settings=Settings(...))"
        )
    return attrs.evolve(settings, **options)
