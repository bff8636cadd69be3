"""The hierarchy of errors, and that every error can be pickled and copied."""

from __future__ import annotations

import copy
import inspect
import pickle
from typing import Any
from uuid import UUID

import pytest
from multidict import CIMultiDict

import ezeep_async
from ezeep_async import JobStatus, errors


TREE: dict[str, tuple[str, ...]] = {
    "EzeepError": ("Exception",),
    "AuthenticationError": ("EzeepError",),
    "ReauthorizationRequired": ("AuthenticationError",),
    "TransientAuthError": ("AuthenticationError",),
    "AuthorizationDenied": ("AuthenticationError",),
    "StateMismatch": ("AuthorizationDenied",),
    "InvalidLoginCookie": ("AuthorizationDenied",),
    "PairingTimeout": ("AuthenticationError", "TimeoutError"),
    "TokenStoreError": ("EzeepError",),
    "TokenStoreCorrupt": ("TokenStoreError",),
    "TokenPersistError": ("TokenStoreError",),
    "ApiError": ("EzeepError",),
    "BadRequest": ("ApiError",),
    "PermissionDenied": ("ApiError",),
    "NotFound": ("ApiError",),
    "Conflict": ("ApiError",),
    "RateLimited": ("ApiError",),
    "ServerError": ("ApiError",),
    "UnexpectedResponse": ("EzeepError",),
    "UnexpectedRedirect": ("UnexpectedResponse",),
    "TransportError": ("EzeepError",),
    "ConnectFailed": ("TransportError",),
    "RequestTimeout": ("TransportError",),
    "Disconnected": ("TransportError",),
    "OutcomeUnknown": ("EzeepError",),
    "PaginationLoop": ("EzeepError",),
    "InconsistentListing": ("EzeepError",),
    "ConcurrentModification": ("EzeepError",),
    "AmbiguousName": ("EzeepError",),
    "ExternalGroup": ("EzeepError",),
    "MissingPeople": ("EzeepError",),
    "SafetyLimitExceeded": ("EzeepError",),
    "StalePlan": ("EzeepError",),
    "AuditLogError": ("EzeepError",),
    "PrintFailed": ("EzeepError",),
    "JobTimeout": ("EzeepError", "TimeoutError"),
    "UnsupportedFileType": ("EzeepError", "ValueError"),
    "UnsupportedOption": ("EzeepError", "ValueError"),
    "UploadExpired": ("EzeepError",),
    "SessionClosed": ("EzeepError",),
    "BlockingCallError": ("EzeepError", "RuntimeError"),
    "InsecureEndpoint": ("EzeepError",),
}
CLASSES: dict[str, type[Any]] = {
    name: cls
    for name, cls in vars(errors).items()
    if inspect.isclass(cls) and issubclass(cls, errors.EzeepError)
}
API = {
    "status": 418,
    "headers": CIMultiDict({"X-Rate": "1", "Retry-After": "3"}),
    "body": {"name": ["bad"]},
    "field_errors": {"name": ["bad"]},
    "request_id": "r-1",
    "attempts": 3,
}
UNEXPECTED = {"status": 200, "path": "$.id", "excerpt": "<html>", "request_id": "r-1", "attempts": 2}
TRANSPORT = {"request_sent": True, "request_id": "r-1", "attempts": 4}


def full(name: str) -> Any:
    """Return an error of the named class with every attribute set."""
    cls = CLASSES[name]
    if issubclass(cls, errors.RateLimited):
        made: Any = cls("message", retry_after=7.5, **API)
    elif issubclass(cls, errors.ApiError):
        made = cls("message", **API)
    elif issubclass(cls, errors.UnexpectedResponse):
        made = cls("message", **UNEXPECTED)
    elif issubclass(cls, errors.TransportError):
        made = cls("message", **TRANSPORT)
    elif issubclass(cls, errors.AuthenticationError):
        made = cls("message", error="invalid_grant", status=400, request_id="r-1")
    elif issubclass(cls, errors.OutcomeUnknown):
        sought = errors.Sought("group", "name", UUID(int=1))
        made = cls("message", request_id="r-1", attempts=2, sought=sought)
    elif issubclass(cls, errors.AmbiguousName):
        made = cls("message", ids=["a", "b"])
    elif issubclass(cls, errors.MissingPeople):
        made = cls("message", people=["a", "b"])
    elif issubclass(cls, errors.SafetyLimitExceeded):
        made = cls("message", removals=7, limit=5, by_group={"Sales": 7})
    elif issubclass(cls, errors.PrintFailed | errors.JobTimeout):
        made = cls("message", status=JobStatus(3011, "ERROR|", 1, 4, 2))
    elif issubclass(cls, errors.UnsupportedFileType):
        made = cls("message", type="zpl", supported=["pdf"])
    elif issubclass(cls, errors.UnsupportedOption):
        made = cls("message", option="paper", available=["A4"])
    elif issubclass(cls, errors.StalePlan):
        made = cls("message", drift=["a is gone", "b is gone"])
    else:
        made = cls("message")
    made.items_so_far = [1, 2]
    made.resume_offset = 20
    made.retryable = True
    made.retry_after = 7.5
    return made


def assert_same(one: Any, other: Any) -> None:
    assert type(other) is type(one)
    assert str(other) == str(one)
    assert other.args == one.args
    assert vars(other) == vars(one)


@pytest.mark.parametrize("name", TREE)
def test_every_class_has_its_bases(name: str) -> None:
    """Every class of the hierarchy has the bases that are listed above."""
    cls = CLASSES[name]
    for base in TREE[name]:
        assert base in {each.__name__ for each in cls.__mro__[1:]}
    assert issubclass(cls, errors.EzeepError)


def test_the_hierarchy_is_complete_and_public() -> None:
    """The hierarchy above has every class of the module, and `ezeep_async` exports all of them."""
    assert set(CLASSES) == set(TREE)
    assert {name for name in TREE if getattr(ezeep_async, name) is CLASSES[name]} == set(TREE)
    assert set(TREE) <= set(ezeep_async.__all__)


def test_every_class_has_its_own_docstring() -> None:
    """Each class stands for one decision, so no two docstrings are equal."""
    for cls in CLASSES.values():
        assert cls.__doc__
    assert len({cls.__doc__ for cls in CLASSES.values()}) == len(CLASSES)


@pytest.mark.slow
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("name", TREE)
def test_8_6_every_error_pickles(name: str, protocol: int) -> None:
    """8-6: class, message and all attributes survive pickling with every protocol."""
    error = full(name)
    assert_same(error, pickle.loads(pickle.dumps(error, protocol)))


@pytest.mark.parametrize("name", TREE)
def test_8_6_every_error_copies(name: str) -> None:
    """8-6: `copy` and `deepcopy` work, and a deep copy shares no mutable value."""
    error = full(name)
    assert_same(error, copy.copy(error))
    deep = copy.deepcopy(error)
    assert_same(error, deep)
    if isinstance(error, errors.ApiError):
        deep.field_errors["name"].append("more")
        assert error.field_errors == {"name": ["bad"]}


@pytest.mark.parametrize("name", TREE)
def test_8_6_an_error_with_only_a_message_pickles(name: str) -> None:
    """8-6: the optional arguments are not needed."""
    error = CLASSES[name]("message")
    assert_same(error, pickle.loads(pickle.dumps(error)))
    assert_same(error, copy.deepcopy(error))


def test_8_6_header_names_stay_case_insensitive() -> None:
    """8-6: header names are case-insensitive after pickling and copying."""
    error: Any = full("NotFound")
    for moved in (pickle.loads(pickle.dumps(error)), copy.deepcopy(error)):
        assert moved.headers["x-rate"] == "1"


class TwoBases(errors.NotFound, LookupError):
    """An error of an application with two bases."""


class OwnInit(errors.RateLimited):
    """An error of an application with an additional attribute."""

    def __init__(self, message: str, *, tenant: str = "", **details: Any) -> None:
        super().__init__(message, **details)
        self.tenant = tenant


def test_8_6_subclasses_pickle_too() -> None:
    """8-6: subclasses that an application defines pickle and copy."""
    two = TwoBases("message", **API)
    own = OwnInit("message", tenant="t", retry_after=3.0, **API)
    for error in (two, own):
        assert_same(error, pickle.loads(pickle.dumps(error)))
        assert_same(error, copy.deepcopy(error))


def test_8_6_an_error_with_a_cause_that_does_not_pickle() -> None:
    """8-6: an error pickles even if its cause does not."""

    class Unpicklable(Exception):
        def __reduce__(self) -> Any:
            raise TypeError

    error = full("Disconnected")
    error.__cause__ = Unpicklable()
    try:
        raise error
    except errors.Disconnected as caught:
        assert_same(error, pickle.loads(pickle.dumps(caught)))


def test_builtin_bases() -> None:
    """`PairingTimeout` is a `TimeoutError`, `BlockingCallError` a `RuntimeError`, `InsecureEndpoint` a `ValueError`."""
    for name, base in (
        ("PairingTimeout", TimeoutError),
        ("BlockingCallError", RuntimeError),
        ("InsecureEndpoint", ValueError),
    ):
        with pytest.raises(base):
            raise full(name)


def test_attributes_have_defaults() -> None:
    """An error with only a message has every attribute."""
    error = errors.ApiError("message")
    assert (error.status, dict(error.headers), error.body) == (0, {}, None)
    assert (error.field_errors, error.request_id, error.attempts) == ({}, None, 1)
    assert errors.TransportError("message").request_sent is None
    assert errors.EzeepError("message").items_so_far is None


def test_8_3_no_secret_in_reprs() -> None:
    """8-3: the repr of an error contains neither headers nor body."""
    for name in TREE:
        error = full(name)
        assert "X-Rate" not in repr(error)
        assert "r-1" not in repr(error)
