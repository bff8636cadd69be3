"""The commands of `ezeep` and their places."""

from __future__ import annotations

from cyclopts import App, Parameter

from ezeep_async.cli.terminal.screen import TellingConsole
from ezeep_async.version import __version__


def _told_default(value: object) -> str | None:
    """What is not given, a switch that is off and a list that is empty need no words."""
    return None if value is None or value is False or value == () else str(value)


app = App(
    name="ezeep",
    help="Groups and users of an ezeep Blue organization, and a sandbox to try everything in.",
    version=f"ezeep {__version__}",
    console=TellingConsole(),  # for --help and --version
    # `main` says it, and to everybody the same.
    suppress_keyboard_interrupt=False,
    # A switch is given or it is not: --no-json would be one more thing to explain.
    default_parameter=Parameter(negative="", show_default=_told_default),
)
# By name: a command is imported when it is called.
app.command("ezeep_async.cli.login.commands:login", help="Log in, in a browser or by another way.")
app.command(
    "ezeep_async.cli.login.commands:logout", help="Log out: end the login at the server, and forget it here."
)
app.command("ezeep_async.cli.login.commands:whoami", help="Show who is logged in, where, and for how long.")
app.command(
    "ezeep_async.cli.demo.command:demo",
    help="Bring a few hundred memberships into a sandbox: the whole SDK at work, in a few seconds.",
)
app.command(
    "ezeep_async.cli.provision.commands:provision_app",
    name="provision",
    help="Bring the organization into line with a file of groups and members: plan, apply, undo.",
)
app.command(
    "ezeep_async.cli.directory.export:export",
    help="Write groups and members as the CSV that ezeep provision plan reads.",
)
app.command(
    "ezeep_async.cli.directory.groups:groups_app",
    name="groups",
    help="List, show, create, rename and delete groups, and list their members.",
)
app.command(
    "ezeep_async.cli.directory.users:users_app",
    name="users",
    help="List and show users, and change the groups of one.",
)
app.command(
    "ezeep_async.cli.demo.sandbox:sandbox",
    help="Serve a sandbox on loopback until Ctrl-C, and print the environment with which to use it.",
)
