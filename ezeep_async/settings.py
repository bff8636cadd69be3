"""`Endpoints` and `Settings`: frozen, and checked when they are made."""

from __future__ import annotations

import ipaddress
import math
import os
import ssl
from collections.abc import Callable, Mapping
from typing import Any, Self

import attrs
from yarl import URL

from ezeep_async._text.cleaning import cleaned, variable
from ezeep_async._text.redaction import clears_arguments, clears_locals
from ezeep_async.errors import InsecureEndpoint


def is_loopback(host: str | None) -> bool:
    """Whether `host` names this machine: `localhost`, or a loopback address."""
    if host is None:
        return False
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _base_url(value: str) -> str:
    """A base address without its trailing slash, refused when a token would not be safe with it."""
    try:
        value = cleaned(value, "an endpoint") if isinstance(value, str) else value  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without a type checker
        url = URL(value)
    except (ValueError, TypeError) as error:
        raise ValueError(f"not an address: {value!r}") from error
    if url.user is not None or url.password is not None:
        raise ValueError("an endpoint carries no user name and no password")
    if url.scheme not in {"http", "https"} or not url.host:
        raise InsecureEndpoint(f"an endpoint is an https:// address, not {value!r}")
    if url.scheme == "http" and not is_loopback(url.host):
        raise InsecureEndpoint(
            f"{value!r} is not https: tokens go to https addresses only (http is for loopback)"
        )
    if any(character.isspace() for character in url.host):
        raise ValueError(f"not an address: {value!r}")
    if url.query_string or url.fragment:
        raise ValueError(f"an endpoint has no query and no fragment: {value!r}")
    return str(url).rstrip("/")


@clears_arguments
@attrs.frozen
class Endpoints:
    """Where the two services are. Both have to be https, except on loopback.

    Source: API document, "Hosts". Raises `InsecureEndpoint` for http elsewhere, `ValueError` for what is no address.
    """

    account: str = attrs.field(default="https://account.ezeep.com", converter=_base_url)
    """Accounts, OAuth2, the account directory and invitations."""
    api: str = attrs.field(default="https://api2.ezeep.com", converter=_base_url)
    """Printing management: groups and users."""

    @classmethod
    @clears_locals
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """From `EZEEP_ACCOUNT_URL` and `EZEEP_API_URL`, each with the real service as its default."""
        environ = os.environ if environ is None else environ
        given = {"account": variable(environ, "EZEEP_ACCOUNT_URL"), "api": variable(environ, "EZEEP_API_URL")}
        return cls(**{name: value for name, value in given.items() if value})


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _positive(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if not (isinstance(value, int | float) and _is_number(value) and value > 0):
        raise ValueError(f"{attribute.name} is a positive number, not {value!r}")


def _not_negative(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if not (isinstance(value, int | float) and _is_number(value) and value >= 0):
        raise ValueError(f"{attribute.name} is zero or more, not {value!r}")


def _whole(least: int) -> Callable[[object, attrs.Attribute[Any], object], None]:
    def validate(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if not (isinstance(value, int) and _is_number(value) and value >= least):
            raise ValueError(f"{attribute.name} is a whole number of at least {least}, not {value!r}")

    return validate


def _proxy(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    try:
        url = URL(value) if isinstance(value, str) else None
    except ValueError:
        url = None
    if url is None or url.scheme not in {"http", "https"} or not url.host:
        # Without the value: it may hold a password.
        raise ValueError(f"{attribute.name} is an http:// address, such as http://proxy.example:3128")


def _clean_proxy(value: str | None) -> str | None:
    return cleaned(value, "proxy") if isinstance(value, str) else value


def _flag(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is not True and value is not False:
        raise ValueError(f"{attribute.name} is True or False, not {value!r}")


def _tls(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    # False, above all, would reach aiohttp, for which it means that no certificate is looked at.
    if value is not None and not isinstance(value, ssl.SSLContext):
        raise ValueError(f"{attribute.name} is an ssl.SSLContext, not {value!r}")


def _two_texts(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    match value:
        case (str(), str()) if isinstance(value, tuple):
            return
        case _:
            # Without the value: it holds a password.
            raise ValueError(f"{attribute.name} is a user name and a password, two texts")


def _proxy_without_password(value: str | None) -> str:
    if value is None:
        return "None"
    url = URL(value)
    return repr(str(url.with_password("***") if url.password else url))


@clears_arguments
@attrs.frozen(kw_only=True)
class Settings:
    """How patient and how eager the SDK is. All times are seconds, and time limits count those in
    which the process ran: not while it was suspended. Raises `ValueError` for what makes no sense."""

    connect_timeout: float = attrs.field(default=10.0, validator=_positive)
    """For making one connection, TLS included; and with it the look-up of the name and the proxy's answer, where the
    connections are not those of an aiohttp session of yours."""
    read_timeout: float = attrs.field(default=30.0, validator=_positive)
    """Between two pieces of an answer of the API. The OAuth endpoints have `refresh_timeout` for the whole of it."""
    deadline: float = attrs.field(default=300.0, validator=_positive)
    """For one call with all its attempts and pauses. Waiting for a slot of the limiter does not count."""
    retries: int = attrs.field(default=4, validator=_whole(0))
    """How often a call is tried again. 0: one attempt, and nothing is repeated behind your back: for those who retry
    by their own means, `is_retryable(error)` and `error.retry_after` say what ours would have done."""
    max_retry_after: float = attrs.field(default=120.0, validator=_not_negative)
    """The longest `Retry-After` that is waited out; a longer one raises `RateLimited` at once. The other calls to the
    same host then wait for this long before they start, and are told the same if the server has not changed its mind."""
    concurrency: int = attrs.field(default=32, validator=_whole(1))
    """How many calls of the API one session has under way at once, at each of the two hosts."""
    requests_per_second: float | None = attrs.field(
        default=None, validator=attrs.validators.optional(_positive)
    )
    """A ceiling on calls of the API, for each host; None: the server's own limits decide."""
    leeway: float = attrs.field(default=60.0, validator=_not_negative)
    """How long before its end an access token is renewed, but never more than a fifth of its life."""
    refresh_timeout: float = attrs.field(default=30.0, validator=_positive)
    """For one exchange with the OAuth endpoints, whatever its waiters' own time limits are. A renewal of the login whose
    answer was lost takes one more."""
    proxy: str | None = attrs.field(
        default=None,
        converter=_clean_proxy,
        validator=attrs.validators.optional(_proxy),
        repr=_proxy_without_password,
    )
    """An http proxy for both hosts."""
    proxy_auth: tuple[str, str] | None = attrs.field(
        default=None, validator=attrs.validators.optional(_two_texts), repr=False
    )
    """The proxy's user name and password, where they are not in its address."""
    ssl_context: ssl.SSLContext | None = attrs.field(default=None, validator=_tls)
    """Own certificate authorities or client certificates, for both hosts."""
    shared_locks: bool = attrs.field(default=True, validator=_flag)
    """Whether a change of a user's groups, and `groups.ensure`, takes a lock that all processes with the same token store
    share, where the store has such locks. False: only the sessions of one process wait for each other."""
    trust_env: bool = attrs.field(default=False, validator=_flag)
    """Take proxies from HTTP_PROXY, HTTPS_PROXY and NO_PROXY. Read once, when the session is opened."""
