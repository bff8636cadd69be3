"""`ezeep --install-completion` and `--show-completion`: the shell completes commands, options and their values."""

from __future__ import annotations

from typing import Literal

from ezeep_async.cli.app import app
from ezeep_async.cli.terminal.output import write_document
from ezeep_async.cli.terminal.screen import Screen, Whole


Shell = Literal["bash", "zsh", "fish", "powershell"]
NEXT = {
    "bash": "~/.bashrc loads it. Start a new shell, or run:",
    "zsh": "~/.zshrc has its folder in fpath, and must call compinit after that. Start a new shell, or run:",
    "fish": "fish loads it by itself. Start a new shell, or run:",
    "powershell": "Your profile loads it. Start a new shell, or run:",
}
COMMANDS = {"bash": ". ~/.bashrc", "zsh": "exec zsh", "fish": "exec fish", "powershell": ". $PROFILE"}


def install_completion(*, shell: Shell | None = None) -> None:
    """Let the shell complete the commands of ezeep, their options, and values such as those of --mode.

    It writes a script to the folder of the user's completions, and a line to ~/.bashrc or ~/.zshrc that loads it. Run it again
    after an update of ezeep_async.

    Args:
        shell: By default the shell that runs this command.
    """
    screen = Screen()
    kind = shell or _detected()
    path = app.install_completion(shell=kind)
    screen.note("The completion is in", Whole(path))
    screen.note(NEXT[kind], Whole(COMMANDS[kind]))


def show_completion(*, shell: Shell | None = None) -> None:
    """Show the completion script, and change no file. In zsh a file of it must be named _cyclopts_ezeep.

    Args:
        shell: By default the shell that runs this command.
    """
    write_document(app.generate_completion(shell=shell or _detected()))


def _detected() -> Shell:
    from cyclopts.completion.detect import ShellDetectionError, detect_shell

    try:
        return detect_shell()
    except ShellDetectionError:
        raise ValueError("the shell is not known: give --shell bash, zsh, fish or powershell") from None
