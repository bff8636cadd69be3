"""`ezeep profiles`: the profiles of the configuration file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ezeep_async.cli.configuration import Configuration
from ezeep_async.cli.connection import HERE, Json, find_account
from ezeep_async.cli.options import options
from ezeep_async.cli.terminal.output import sentence, write_json
from ezeep_async.cli.terminal.screen import Screen, Whole, to_json


if TYPE_CHECKING:
    from ezeep_async.cli.connection import Account

NO_PROFILE = "(no profile)"
"""How a table names the settings outside of profiles."""


def profiles(*, as_json: Json = False) -> None:
    """List the profiles of the configuration file: name, client, account service, where the tokens are stored.

    The profile is the one that --profile names, else EZEEP_PROFILE. Without either the settings outside of profiles are
    used. For each setting, an option comes before the environment, the environment before the profile, and the profile
    before the top level of the file.
    """
    screen = Screen()
    configuration = Configuration(profile=options().profile)
    source = (
        "" if not configuration.profile else "EZEEP_PROFILE" if options().profile is None else "--profile"
    )
    rows: list[tuple[str, Account | None, str]] = []
    for name in ("", *sorted(configuration.profiles)):
        try:
            rows.append((name, find_account(HERE, None, name), ""))
        except (OSError, ValueError) as error:
            rows.append((name, None, sentence(error)))
    if rows[0][1] is None and len(rows) > 1 and configuration.profile:
        del rows[0]  # there are only profiles
    if as_json:
        records = [
            {
                "name": name or None,
                "is_used": name == configuration.profile,
                "chosen_by": source or None if name == configuration.profile else None,
                "client_id": account and account.app.client_id,
                "account_url": account and account.endpoints.account,
                "kept_in": account and account.place,
                "problem": problem or None,
            }
            for name, account, problem in rows
        ]
        write_json(to_json(records))
        return
    screen.table(
        ("profile", "used", "client", "account", "tokens"),
        [
            (
                name or NO_PROFILE,
                "" if name != configuration.profile else f"used: {source}" if source else "used",
                account.app.client_id if account else "",
                account.endpoints.account if account else problem,
                account.place if account else "",
            )
            for name, account, problem in rows
        ],
    )
    screen.note("The configuration file is", Whole(configuration.path))
