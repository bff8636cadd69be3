"""`typing.get_type_hints` resolves all hints of all that is public, as containers for dependency injection do."""

from __future__ import annotations

import importlib
import inspect
import typing
from collections.abc import Iterator

import pytest

import ezeep_async
from ezeep_async import EzeepSession, TokenSet
from ezeep_async.auth.oauth import OAuth


pytestmark = pytest.mark.may_block

MODULES = ["", ".errors", ".provisioning", ".sandbox", ".testing", ".webhooks"]
# attrs evaluates fields that a class inherits in the module of the class. No program calls these constructors.
WITH_FIELDS_OF_ANOTHER_MODULE = {"Fault.__init__", "Hold.__init__", "Outcome.__init__"}


def with_hints() -> Iterator[tuple[str, object]]:
    """Public functions and classes, and the public methods, properties and constructors of these."""
    for suffix in MODULES:
        module = importlib.import_module(f"ezeep_async{suffix}")
        for name in module.__all__:
            found = getattr(module, name)
            if inspect.isfunction(found):
                yield name, found
            if not isinstance(found, type):
                continue
            yield name, found
            for member, value in vars(found).items():
                function = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
                is_public = member == "__init__" or not member.startswith("_")
                if is_public and inspect.isfunction(function):
                    yield f"{name}.{member}", function


def test_all_hints_are_resolved() -> None:
    failed = {}
    count = 0
    for name, each in with_hints():
        count += 1
        try:
            typing.get_type_hints(each)
        except (NameError, TypeError) as error:
            if name not in WITH_FIELDS_OF_ANOTHER_MODULE:
                failed[name] = error
    assert failed == {}, (
        "a name that is imported under TYPE_CHECKING is missing in `imported_later` of its module"
    )
    assert count > 700


def test_they_are_the_classes_themselves() -> None:
    """Also those that a module imports for type checkers only."""
    assert typing.get_type_hints(EzeepSession)["oauth"] is OAuth
    assert typing.get_type_hints(EzeepSession.keep_alive)["return"] is ezeep_async.KeepAlive
    hints = typing.get_type_hints(ezeep_async.OAuth.refresh)
    assert hints["return"] is TokenSet
