"""A plain script without asyncio: prints the groups, and adds a user to one of them.

pip install 'ezeep_async[cli]'
ezeep login --client-id CLIENT_ID --token-file login.json
python blocking_groups.py --add jane@example.com "Night shift"

Environment: EZEEP_CLIENT_ID, EZEEP_TOKEN_FILE (login.json). Exit codes: 0 done, 1 failed, 4 log in again, 5 try later.
"""

from __future__ import annotations

import argparse
import sys

from ezeep_async import (
    BlockingSession,
    EzeepError,
    EzeepSession,
    ReauthorizationRequired,
    finish_refresh_on,
    is_retryable,
    run_sync,
)


def add(session: BlockingSession, email: str, name: str) -> None:
    """Add the user with this address to the group with this name."""
    users = [user.id for user in session.accounts.list() if user.email == email]
    groups = [group.id for group in session.groups.find(name)]
    if len(users) != 1 or len(groups) != 1:
        raise SystemExit(f"found {len(users)} users and {len(groups)} groups with these names")
    session.users.add_to_groups(users[0], groups[0])


def main() -> int:
    """Run the script, and return its exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--add", nargs=2, metavar=("EMAIL", "GROUP"))
    options = parser.parse_args()
    finish_refresh_on()  # SIGTERM and SIGHUP wait for a token refresh that has begun
    try:
        with run_sync(EzeepSession.from_env()) as session:
            if options.add:
                add(session, *options.add)
            for group in session.groups.list():
                print(f"{group.name}: {group.num_members} members")
    except EzeepError as error:
        print(error, file=sys.stderr)
        if isinstance(error, ReauthorizationRequired):
            return 4
        return 5 if is_retryable(error) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
