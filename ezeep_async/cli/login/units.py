"""`ezeep keep-alive --install`: a systemd unit and a line for crontab, printed and not installed."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from ezeep_async import FileTokenStore, KeyringTokenStore
from ezeep_async._text.cleaning import variable
from ezeep_async.auth.stores.paths import expanded
from ezeep_async.cli.configuration import Configuration
from ezeep_async.cli.terminal.output import complain, write_document


if TYPE_CHECKING:
    from ezeep_async.cli.connection import Account, Connection


PATHS = ("EZEEP_CLIENT_SECRET_FILE", "EZEEP_CONFIG", "EZEEP_TOKEN_FILE")
VALUES = (
    "EZEEP_ACCOUNT_URL",
    "EZEEP_API_URL",
    "EZEEP_CLIENT_ID",
    "EZEEP_PRINT_URL",
    "EZEEP_PROFILE",
    "EZEEP_SCOPE",
    "EZEEP_TOKEN_STORE",
)
"""The variables that are repeated. All others, such as EZEEP_CLIENT_SECRET, may be secret."""
CRON_REFRESH_AFTER_S = 900
"""Seconds. Less than the 20 minutes between two runs of cron, so that none is left out because it comes early."""

_UNIT = """\
# A service that keeps a login alive. Save it as /etc/systemd/system/ezeep-keep-alive.service, then:
#   systemctl daemon-reload && systemctl enable --now ezeep-keep-alive
[Unit]
Description=Keep the login of ezeep alive: {login}
Wants=network-online.target
After=network-online.target

[Service]
Type=notify
{user}{environment}ExecStart={command}
Restart=on-failure
# After exit code 4 too: a login that a person makes again is found by itself.
RestartSec=60
RestartPreventExitStatus=64
# SIGTERM before the command was ready.
SuccessExitStatus=143
WatchdogSec=120
# A refresh that has begun ends first.
TimeoutStopSec=100

[Install]
WantedBy=multi-user.target

# Without systemd, this line for crontab -e does the same. systemd ignores this section.
[X-Crontab]
{crontab}
"""


def print_units(account: Account, connection: Connection, interval: float | None) -> None:
    """Print them, for this program, the options of this command, and its environment without secrets."""
    if account.sandbox is not None:
        raise ValueError("--install and --sandbox cannot be used together: the sandbox ends with the command")
    if str(connection.client_secret_file) == "-":
        raise ValueError("a service cannot ask for a secret: give --client-secret-file the path of a file")
    if not isinstance(account.store, FileTokenStore | KeyringTokenStore):
        raise ValueError(f"a service cannot keep these tokens alive, they are in {account.place}")
    environment = _environment(os.environ)
    options = _options(connection)
    if account.profile:
        environment.pop("EZEEP_PROFILE", None)
        options += ["--profile", account.profile]
    if isinstance(account.store, FileTokenStore) and connection.token_file is None:
        environment.pop("EZEEP_TOKEN_FILE", None)
        options += ["--token-file", str(account.store.path)]
    program = _program()
    keeping = [
        *program,
        "keep-alive",
        *([] if interval is None else ["--interval", f"{interval:g}"]),
        *options,
    ]
    refreshing = [*program, "refresh", "--if-older-than", f"{CRON_REFRESH_AFTER_S}", *options]
    line = shlex.join(refreshing)
    if environment:
        line = f"env {' '.join(shlex.quote(f'{name}={value}') for name, value in environment.items())} {line}"
    write_document(
        _UNIT.format(
            login=account.login.replace("%", "%%"),
            user=_user(),
            environment="".join(
                f"Environment={_quoted(f'{name}={value}', dollar='$')}\n"
                for name, value in environment.items()
            ),
            command=" ".join([_quoted(keeping[0], dollar="$"), *(_quoted(each) for each in keeping[1:])]),
            # cron takes a percent sign for the end of the line.
            crontab=f"*/20 * * * * {line} >/dev/null".replace("%", "\\%"),
        )
    )
    if variable(os.environ, "EZEEP_CLIENT_SECRET") is not None:
        complain(
            "EZEEP_CLIENT_SECRET is a secret and not printed: write it into a file, and give --client-secret-file that path"
        )
    if isinstance(account.store, KeyringTokenStore):
        complain("a keyring is locked until its user logs in to a desktop: a service needs --token-file")


def _program() -> list[str]:
    """The absolute command of this program."""
    started_as = Path(sys.argv[0])
    if started_as.stem == "ezeep" and (found := shutil.which(str(started_as.absolute()))) is not None:
        return [found]
    return [sys.executable, "-m", "ezeep_async"]


def _options(connection: Connection) -> list[str]:
    options: list[str] = []
    for field in attrs.fields(type(connection)):
        value: object = getattr(connection, field.name)
        if value is None or value is False:
            continue
        options.append("--" + field.name.replace("_", "-"))
        if value is not True:
            options.append(str(expanded(value) if isinstance(value, Path) else value))
    return options


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that the options of this command do not repeat."""
    found: dict[str, str] = {}
    for name in sorted((*PATHS, *VALUES)):
        value = variable(environ, name, is_path=name in PATHS)
        if value is not None:
            found[name] = str(expanded(value)) if name in PATHS else value
    configuration = Configuration().path
    if configuration.exists():
        found["EZEEP_CONFIG"] = str(configuration)
    return found


def _user() -> str:
    if sys.platform == "win32" or os.geteuid() == 0:
        return ""
    import pwd

    try:
        user = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # as in a container with another user than its image has
        user = str(os.geteuid())
    return f"User={user}\n"


def _quoted(text: str, dollar: str = "$$") -> str:
    """Quote one word for a unit (systemd.syntax(7), systemd.service(5)): `%` and `$` begin replacements there."""
    text = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", dollar)
    return text if text and not set(text) & set(" \t'\"\\;") else f'"{text}"'
