"""`UNSET`, the default of arguments that are not sent. `False`, `""`, `[]` and `0` are values, and are sent."""

from __future__ import annotations

import enum
from typing import Final, Literal


class Unset(enum.Enum):
    """The type of `UNSET`."""

    UNSET = "UNSET"

    def __repr__(self) -> str:
        return "UNSET"

    def __bool__(self) -> bool:
        return False


UNSET: Final[Literal[Unset.UNSET]] = Unset.UNSET
"""The default of the arguments of `update` and of similar methods: the field is not changed."""
