"""Attributes of a session that are made at their first use, and that tools see on its class."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any


class Part:
    """An attribute that is made when it is first read, and then is an ordinary attribute of the instance.

    On the class it is an object of the same type that is not connected to a session. `unittest.mock.create_autospec` and
    `help` read the attributes of a class, and could not see through a `cached_property`.
    """

    def __init__(self, where: str, make: Callable[[Any, Any, str], object]) -> None:
        self._module, _, self._class = f"ezeep_async.{where}".rpartition(".")
        self._make = make
        self._on_class: Any = None

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: object | None, owner: type) -> Any:
        kind = getattr(import_module(self._module), self._class)
        if instance is not None:
            # Of two threads that read it first, both get the same object.
            return vars(instance).setdefault(self._name, self._make(kind, instance, self._name))
        if self._on_class is None:
            self._on_class = object.__new__(kind)
        return self._on_class


def part(where: str, make: Callable[[Any, Any, str], object]) -> Any:
    """Declare an attribute whose type is imported at its first use.

    Type checkers and completion read the annotation of the attribute, therefore this returns `Any`.

    Args:
        where: Dotted name of the type in the package.
        make: Called as `make(type, session, name)`.
    """
    return Part(where, make)
