"""The commands of `ezeep` and their places."""

from __future__ import annotations

from cyclopts import App, Parameter

from ezeep_async.version import __version__


app = App(
    name="ezeep",
    help="Groups and users of an ezeep Blue organisation, and a sandbox to try everything in.",
    version=f"ezeep {__version__}",
    # `main` says it, and to everybody the same.
    suppress_keyboard_interrupt=False,
    # A switch is given or it is not: --no-json would be one more thing to explain.
    default_parameter=Parameter(negative=""),
)
# By name: a command is imported when it is called.
app.command("ezeep_async.cli.login:login", help="Log in, in a browser or by another way.")
app.command("ezeep_async.cli.login:logout", help="Log out: end the login at the server, and forget it here.")
app.command("ezeep_async.cli.login:whoami", help="Show who is logged in, where, and for how long.")
app.command(
    "ezeep_async.cli.demo:demo",
    help="Bring a few hundred memberships into a sandbox: the whole SDK at work, in a few seconds.",
)
app.command("ezeep_async.cli.groups:groups_app", name="groups", help="List, show and create groups.")
app.command("ezeep_async.cli.users:users_app", name="users", help="List and show users.")
app.command(
    "ezeep_async.cli.sandbox:sandbox",
    help="Serve a sandbox on loopback until Ctrl-C, and print the environment with which to use it.",
)
