"""`python manage.py ezeep_groups USER_ID`: the groups, with the login of a user."""

from __future__ import annotations

from argparse import ArgumentParser

from django.core.management.base import BaseCommand, CommandError

from ezeep_async import EzeepError, finish_refresh_on
from printing.logins import logins


class Command(BaseCommand):
    """List the groups of the organization."""

    help = "List the groups of the organization, with the login of a user"

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the id that the view `callback` stores the login under."""
        parser.add_argument("user_id")

    def handle(self, *, user_id: str, **_: object) -> None:
        """Print a line for each group."""
        finish_refresh_on()  # SIGTERM and SIGHUP wait for a token refresh that has begun
        try:
            with logins, logins.session(user_id) as ezeep:
                for group in ezeep.groups.list():
                    self.stdout.write(f"{group.name}: {group.num_members} members")
        except EzeepError as error:
            raise CommandError(str(error)) from error
