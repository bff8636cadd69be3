"""Attributes of a session that are made at their first use, and that tools see on its class."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from functools import cache, cached_property
from importlib import import_module
from typing import Any, TypeVar, cast


S = TypeVar("S")


class Part(cached_property[Any]):
    """An attribute that is made when it is first read, and then is an ordinary attribute of the instance.

    Python calls `__get__` only while the instance's dictionary has no such name, because this class has no `__set__`. A program
    can therefore put a fake in the place of a part.

    On the class it is an object of the same type that is not connected to a session. `unittest.mock.create_autospec` and
    `help` read the attributes of a class, and could not see through a `cached_property`.
    """

    def __init__(self, where: str, make: Callable[[Any, Any, str], object]) -> None:
        super().__init__(lambda session: make(self._kind(), session, str(self.attrname)))
        self._module, _, self._class = f"ezeep_async.{where}".rpartition(".")

    def _kind(self) -> Any:
        return getattr(import_module(self._module), self._class)

    @cached_property
    def _on_class(self) -> Any:
        return object.__new__(self._kind())

    def has_made(self, value: object) -> bool:
        """Whether the value of the attribute is a part of this type, and no fake."""
        return type(value) is type(self._on_class)

    def __get__(self, instance: object | None, owner: type | None = None) -> Any:
        if instance is None:
            return self._on_class
        # Of two threads that read it first, both get the same object.
        return vars(instance).setdefault(str(self.attrname), self.func(instance))


def part(where: str, make: Callable[[Any, Any, str], object]) -> Any:
    """Declare an attribute whose type is imported at its first use.

    Type checkers and completion read the annotation of the attribute, therefore this returns `Any`.

    Args:
        where: Dotted name of the type in the package.
        make: Called as `make(type, session, name)`.
    """
    return Part(where, make)


def view_of(session: S) -> S:
    """A copy of a session that makes its parts anew, since each part sends with the options of the session that made it.

    It keeps all other attributes, and the fakes that a program has put in the place of parts.
    """
    view = object.__new__(type(session))
    parts = _parts_of(cast("Hashable", type(session)))
    vars(view).update(
        (name, value)
        for name, value in vars(session).items()
        if name not in parts or not parts[name].has_made(value)
    )
    return view


@cache
def _parts_of(kind: Hashable) -> Mapping[str, Part]:
    """The parts of a class and of its bases, by name."""
    classes = reversed(cast("type", kind).__mro__)
    return {name: value for each in classes for name, value in vars(each).items() if isinstance(value, Part)}
