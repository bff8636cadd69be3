"""What provisioning takes nobody out of, and whom it takes out of nothing (requirement 7-7)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from uuid import UUID

import attrs

from ezeep_async.provisioning.names import normalise_email


OWN_USER = "this is the user that the job runs as"
LAST_ADMIN = "this is the last administrator"
UNSEEN = "the account directory does not show this user, whom the input may name by an address"


@attrs.frozen
class HeldBack:
    """A removal that is not made."""

    member: str
    group: str
    """Its name."""
    reason: str

    def __str__(self) -> str:
        return f"{self.member} stays in {self.group!r}: {self.reason}"


@attrs.frozen
class Protection:
    """Patterns of users, by e-mail address, and of groups, by name: ids, whole names, or globs as the shell has them."""

    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()

    @classmethod
    def of(cls, users: Iterable[str | UUID], groups: Iterable[str | UUID]) -> Protection:
        """Checked and normalised. Raises `ValueError` for a text where several patterns are meant, and for blank ones."""
        return cls(_patterns(users, "protect_users"), _patterns(groups, "protect_groups"))

    def of_user(self, user_id: UUID, email: str) -> str | None:
        """Why that user is taken out of nothing; None if it may be."""
        return _match(self.users, str(user_id), normalise_email(email), "protect_users")

    def of_group(self, group_id: UUID, name: str) -> str | None:
        """Why nobody is taken out of that group; None if somebody may be."""
        # Without regard to case: a protection that fails to protect for a capital letter is none.
        return _match(self.groups, str(group_id), normalise_email(name), "protect_groups")

    def unused(self, users: Mapping[UUID, str], groups: Mapping[UUID, str]) -> list[str]:
        """The patterns that are those of nobody and nothing, by ids with their addresses and names."""
        return [
            *_unused(self.users, users, "protect_users"),
            *_unused(self.groups, groups, "protect_groups"),
        ]


def _patterns(given: Iterable[str | UUID], name: str) -> tuple[str, ...]:
    if isinstance(given, str | UUID):
        raise ValueError(f"{name} is several patterns: put even one into a list")  # noqa: TRY004  # one class for bad arguments
    return tuple(_pattern(each, name) for each in given)


def _pattern(given: object, name: str) -> str:
    if isinstance(given, UUID):
        return str(given)
    if not isinstance(given, str):
        raise ValueError(f"{name} has ids and globs, not {given!r}")  # noqa: TRY004  # one class for bad arguments
    try:
        # Every way of writing an id: one that is taken for a name would protect nobody.
        return str(UUID(given.strip()))
    except ValueError:
        pattern = normalise_email(given)
    if not pattern:
        raise ValueError(f"{name} has a blank pattern")
    return pattern


def _match(patterns: Iterable[str], record_id: str, text: str, where: str) -> str | None:
    for pattern in patterns:
        # The text itself comes first: names have brackets in them that are no glob.
        if pattern in {record_id, text} or fnmatchcase(text, pattern):
            return f"{where} has {pattern!r}"
    return None


def _unused(patterns: Iterable[str], records: Mapping[UUID, str], where: str) -> Iterator[str]:
    for pattern in patterns:
        if not any(
            _match((pattern,), str(each), normalise_email(text), where) for each, text in records.items()
        ):
            yield f"{where} has {pattern!r}"
