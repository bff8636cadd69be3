"""The commands of `ezeep`, by the names of their modules: a command is imported when it is called."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter, UnknownOptionError

from ezeep_async import __version__
from ezeep_async.cli.options import (
    Debug,
    Options,
    Profile,
    Quiet,
    Timeout,
    use,
    with_hyphens,
    without_hyphens,
)
from ezeep_async.cli.terminal.help import HelpFormatter, call
from ezeep_async.cli.terminal.screen import PipeConsole


def _shown_default(value: object) -> str | None:
    """Hide the default of options that are not set: no value, a switch that is off, an empty list."""
    return None if value is None or value is False or value == () else str(value)


app = App(
    name="ezeep",
    help="Printing, printers, groups and users of an ezeep Blue organization, and a sandbox to try everything in.",
    help_format="plaintext",
    help_formatter=HelpFormatter(),
    version=f"ezeep {__version__}",
    console=PipeConsole(emoji=False),  # for --help and --version
    suppress_keyboard_interrupt=False,  # `main` reports it
    # Switches have no second form such as --no-json.
    default_parameter=Parameter(negative="", show_default=_shown_default),
)
COMMANDS = {
    "login": ("login.commands:login", "Log in: in a browser, or in another way."),
    "logout": ("login.commands:logout", "Log out: revoke the tokens at the server and delete them here."),
    "whoami": (
        "login.commands:whoami",
        "Show the user, the organization, and when the access token expires.",
    ),
    "refresh": (
        "login.keeping:refresh",
        "Refresh the tokens once, for cron. Exit codes 4 and 5: log in again, try later.",
    ),
    "keep-alive": (
        "login.keeping:keep_alive",
        "Keep the login alive until SIGTERM or Ctrl-C, for systemd, containers and nohup.",
    ),
    "profiles": (
        "profiles:profiles",
        "List the profiles of the configuration file, and show which one is used.",
    ),
    "demo": (
        "demo.command:demo",
        "Provision a few hundred memberships in a sandbox and print a page, in a few seconds.",
    ),
    "provision": (
        "provision.commands:provision_app",
        "Bring the organization into line with a file of groups, members and printers: plan, apply, undo, log.",
    ),
    "export": (
        "directory.export:export",
        "Write groups with their members and printers as the CSV that ezeep provision plan reads.",
    ),
    "groups": (
        "directory.groups:groups_app",
        "List, show, create, rename and delete groups, and list their members.",
    ),
    "users": (
        "directory.users:users_app",
        "List, show, invite and delete users, and change the groups of one.",
    ),
    "invitations": (
        "directory.invitations:invitations_app",
        "List invitations to the organization, and send their mails again.",
    ),
    "printers": (
        "printing.printers:printers_app",
        "List the printers that you may print to, and show what one can do.",
    ),
    "print": ("printing.command:print_documents", "Print documents, and wait until they are printed."),
    "jobs": (
        "printing.jobs:jobs_app",
        "Show the status of a print job, and the jobs that wait in pull queues.",
    ),
    "assignments": (
        "administration.assignments:assignments_app",
        "List printers with their groups, and assign printers to groups.",
    ),
    "connectors": (
        "administration.connectors:connectors",
        "List the connectors of the organization: hubs, print servers and virtual ones.",
    ),
    "webhooks": (
        "administration.webhooks:webhooks_app",
        "List, create and delete endpoints that ezeep posts events to.",
    ),
    "reports": ("administration.reports:reports_app", "Store reports on printed jobs as CSV."),
    "api": (
        "administration.api:api",
        "Send a request with the stored token, and print the JSON of the response.",
    ),
    "sandbox": (
        "demo.sandbox:sandbox",
        "Run a sandbox on loopback until Ctrl-C, and print the environment variables for it.",
    ),
    "--install-completion": (
        "completion:install_completion",
        "Let the shell complete commands, options and their values.",
    ),
    "--show-completion": ("completion:show_completion", "Show the completion script."),
}
for name, (place, text) in COMMANDS.items():
    app.command(f"ezeep_async.cli.{place}", name=name, help=text)


@app.meta.default
def start(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    debug: Debug = False,
    quiet: Quiet = False,
    timeout: Timeout = None,
    profile: Profile = None,
) -> object:
    """Call the command, and return its exit code, or a coroutine for that."""
    if debug and quiet:
        raise ValueError("--debug and --quiet cannot be used together")
    use(Options(debug=debug, quiet=quiet, timeout=timeout, profile=profile))
    try:
        command, bound, _ = app.parse_args(without_hyphens(tokens), print_error=False, exit_on_error=False)
    except UnknownOptionError as error:
        # What is close to the option may be a global one.
        error.argument_collection.extend(app.meta.assemble_argument_collection())
        raise
    bound.arguments.update({name: with_hyphens(value) for name, value in bound.arguments.items()})
    return call(command, bound)
