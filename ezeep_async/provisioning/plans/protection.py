"""Users and groups whose memberships provisioning does not remove (requirement 7-7)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from uuid import UUID

import attrs

from ezeep_async.provisioning.names import normalize_email


OWN_USER = "this is the user that the session is logged in as"
LAST_ADMIN = "this is the last administrator"
UNSEEN = "the account directory does not list this user, so the input may contain its e-mail address"


@attrs.frozen
class HeldBack:
    """A removal that is not made, and the reason."""

    member: str
    group: str
    """Name of the group."""
    reason: str

    def __str__(self) -> str:
        return f"{self.member} stays in {self.group!r}: {self.reason}"


@attrs.frozen
class Protection:
    """Patterns of protected users (e-mail addresses) and groups (names): ids, whole names or shell globs."""

    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()

    @classmethod
    def of(cls, users: Iterable[str | UUID], groups: Iterable[str | UUID]) -> Protection:
        """Check and normalize the patterns. Raises `ValueError` for a single text and for blank patterns."""
        return cls(_patterns(users, "protect_users"), _patterns(groups, "protect_groups"))

    def of_user(self, user_id: UUID, email: str) -> str | None:
        """Return the reason why the user is protected; None if it is not."""
        return _match(self.users, str(user_id), normalize_email(email), "protect_users")

    def of_group(self, group_id: UUID, name: str) -> str | None:
        """Return the reason why the group is protected; None if it is not."""
        # Case-insensitive: a capital letter must not disable a protection.
        return _match(self.groups, str(group_id), normalize_email(name), "protect_groups")

    def unused(self, users: Mapping[UUID, str], groups: Mapping[UUID, str]) -> list[str]:
        """List the patterns that match no user and no group. The mappings have ids, and addresses or names."""
        return [
            *_unused(self.users, users, "protect_users"),
            *_unused(self.groups, groups, "protect_groups"),
        ]


def _patterns(given: Iterable[str | UUID], name: str) -> tuple[str, ...]:
    if isinstance(given, str | UUID):
        raise ValueError(f"{name} must be a list of patterns, not {given!r}")  # noqa: TRY004  # one class for bad arguments
    return tuple(_pattern(each, name) for each in given)


def _pattern(given: object, name: str) -> str:
    if isinstance(given, UUID):
        return str(given)
    if not isinstance(given, str):
        raise ValueError(f"{name} must contain ids and globs, not {given!r}")  # noqa: TRY004  # one class for bad arguments
    try:
        # Accept every spelling of an id: one that is read as a name would protect no user.
        return str(UUID(given.strip()))
    except ValueError:
        pattern = normalize_email(given)
    if not pattern:
        raise ValueError(f"{name} contains a blank pattern: remove it")
    return pattern


def _match(patterns: Iterable[str], record_id: str, text: str, where: str) -> str | None:
    for pattern in patterns:
        # Compare the text first: brackets in a name are not always a glob.
        if pattern in {record_id, text} or fnmatchcase(text, pattern):
            return f"{where} contains {pattern!r}"
    return None


def _unused(patterns: Iterable[str], records: Mapping[UUID, str], where: str) -> Iterator[str]:
    for pattern in patterns:
        if not any(
            _match((pattern,), str(each), normalize_email(text), where) for each, text in records.items()
        ):
            yield f"{where} contains {pattern!r}"
