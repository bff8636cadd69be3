"""`UNSET`, the default of arguments that are not sent. `False`, `""`, `[]` and `0` are values, and are sent."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final, Literal


class Unset(enum.Enum):
    """The type of `UNSET`."""

    UNSET = "UNSET"

    def __repr__(self) -> str:
        return "UNSET"

    def __bool__(self) -> bool:
        return False


UNSET: Final[Literal[Unset.UNSET]] = Unset.UNSET


def given(values: Mapping[str, object]) -> dict[str, object]:
    """Leave out the values that are `UNSET`."""
    return {name: value for name, value in values.items() if value is not UNSET}
