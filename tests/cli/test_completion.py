"""`ezeep --install-completion` and `--show-completion`, in the shells themselves."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from helpers.command_line import ezeep


# What `complete -F` of the script does, without a terminal: the last word is completed.
IN_BASH = r"""
. "$1"; shift
function=$(complete -p ezeep | sed 's/.*-F \([^ ]*\).*/\1/')
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
$function ezeep "${@: -1}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\n' "${COMPREPLY[@]}"
"""
IN_ZSH = r"""
zmodload zsh/zpty; zmodload zsh/zselect
zpty shell zsh -f -i
zpty -w shell "PS1='> '; fpath=($1 \$fpath); autoload -Uz compinit; compinit -u -D; print re''ady"
while zpty -r shell line; [[ $line != *ready* ]]; do :; done
zpty -w -n shell "$2"$'\t'
all=""
for each in {1..100}; do  # what is completed comes in pieces
  zselect -t 10
  while zpty -r -t shell line; do all+=$line; done
  [[ $all == *$3* ]] && exit 0
done
print -r -- $all; exit 1
"""
CASES = [
    ("gr", {"groups"}),
    ("groups re", {"rename"}),
    ("groups list --j", {"--json"}),
    ("provision plan --mode ", {"add", "exact"}),
    ("print x.pdf --duplex lo", {"long-edge"}),
    ("--debug gro", {"groups"}),
    ("--timeout 5 users inv", {"invite"}),
    ("users list --prof", {"--profile"}),
]
each_case = pytest.mark.parametrize(("typed", "expected"), CASES)


def needs(shell: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(shell) is None, reason=f"{shell} is not installed")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


async def _script(shell: str, tmp_path: Path) -> Path:
    ran = await ezeep("--show-completion", "--shell", shell)
    assert (ran.code, ran.err) == (0, "")
    path = tmp_path / f"_ezeep.{shell}"
    path.write_text(ran.out)
    return path


@pytest.mark.slow
@needs("bash")
@each_case
async def test_bash(tmp_path: Path, typed: str, expected: set[str]) -> None:
    """Commands are found although they are imported when they are called."""
    script = await _script("bash", tmp_path)
    words = ["ezeep", *typed.split(), *([""] if typed.endswith(" ") else [])]
    ran = subprocess.run(
        ["bash", "--norc", "-c", IN_BASH, "bash", str(script), *words],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert set(ran.stdout.split()) == expected, ran.stderr


@pytest.mark.slow
@needs("fish")
@each_case
async def test_fish(tmp_path: Path, typed: str, expected: set[str]) -> None:
    script = await _script("fish", tmp_path)
    ran = subprocess.run(
        ["fish", "--no-config", "-c", f'source {script}; complete -C "ezeep {typed}"'],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert {line.partition("\t")[0] for line in ran.stdout.splitlines()} >= expected, ran.stderr


@pytest.mark.slow
@needs("zsh")
@pytest.mark.parametrize(("typed", "expected"), [CASES[0], CASES[2], CASES[5]])
async def test_zsh(tmp_path: Path, typed: str, expected: set[str]) -> None:
    script = await _script("zsh", tmp_path)
    folder = tmp_path / "functions"
    folder.mkdir()
    script.rename(folder / "_cyclopts_ezeep")  # its function has that name
    ran = subprocess.run(
        ["zsh", "-f", "-c", IN_ZSH, "zsh", str(folder), f"ezeep {typed}", *expected],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": "/usr/bin:/bin", "TERM": "dumb", "HOME": str(tmp_path)},
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize(
    ("shell", "script", "changed"),
    [
        ("bash", ".local/share/bash-completion/completions/ezeep", ".bashrc"),
        ("zsh", ".zsh/completions/_cyclopts_ezeep", ".zshrc"),
        ("fish", ".config/fish/completions/ezeep.fish", None),
    ],
)
async def test_install(tmp_path: Path, shell: str, script: str, changed: str | None) -> None:
    """Twice is as once, and what the user has written stays."""
    if changed is not None:
        (tmp_path / changed).write_text("# mine\n")
    for _ in range(2):
        ran = await ezeep("--install-completion", "--shell", shell)
        assert (ran.code, ran.err) == (0, "")
    assert str(tmp_path / script) in ran.out
    assert "groups" in (tmp_path / script).read_text()
    if changed is not None:
        text = (tmp_path / changed).read_text()
        assert "# mine\n" in text
        assert text.count(str(Path(script).parent)) >= 1
        assert len(text.splitlines()) == 3


async def test_a_shell_that_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    from cyclopts.completion import detect

    def none() -> str:
        raise detect.ShellDetectionError

    monkeypatch.setattr(detect, "detect_shell", none)
    ran = await ezeep("--show-completion")
    assert ran.refused() == "the shell is not known: give --shell bash, zsh, fish or powershell"
    assert (await ezeep("--show-completion", "--shell", "csh")).code == 64
