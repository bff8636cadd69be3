"""docs/how-to/unattended.md and containers.md: every command line is one that `ezeep` understands, and the recipes run as they are printed."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from helpers import documents
from helpers.command_line import environment
from helpers.kept_logins import Keeping
from helpers.moved_clock import MovedClock
from helpers.shell_lines import understand
from helpers.support import put

from ezeep_async import EzeepSession, FileTokenStore, ReadOnlyTokens
from ezeep_async.sandbox import SANDBOX_ADMIN, SANDBOX_PASSWORD, Sandbox
from ezeep_async.sandbox.page.actions import ACTIONS


pytestmark = [
    pytest.mark.may_block,
    pytest.mark.timeout(120),
    pytest.mark.skipif(os.name != "posix", reason="recipes for Unix"),
]

DEPLOYMENT = yaml.safe_load(documents.marked("docs/how-to/containers.md", "kubernetes-deployment"))
CRON_JOB = yaml.safe_load(documents.marked("docs/how-to/containers.md", "kubernetes-cron-job"))
VOLUME = yaml.safe_load(documents.marked("docs/how-to/containers.md", "kubernetes-volume"))
COMPOSE = yaml.safe_load(documents.marked("docs/how-to/containers.md", "compose"))
BLOCKS = [
    (block.language, block.text)
    for page in ("docs/how-to/unattended.md", "docs/how-to/containers.md")
    for block in documents.blocks(page)
    if block.language not in {"python", "py", "text", "csv"}
]

COMMANDS = ("keep-alive", "login", "logout", "provision", "refresh")


def containers_of(manifest: dict) -> list[dict]:
    spec = manifest["spec"].get("jobTemplate", manifest)["spec"]["template"]["spec"]
    return [*spec.get("initContainers", []), *spec["containers"]]


def command_lines() -> list[list[str]]:
    """The arguments of every `ezeep` on the page."""
    containers = [each for manifest in (DEPLOYMENT, CRON_JOB) for each in containers_of(manifest)]
    found = [
        each["command"][1:]
        for each in (*containers, *COMPOSE["services"].values())
        if each["command"][0] == "ezeep"
    ]
    for kind, text in BLOCKS:
        plain = re.sub(r'"(ezeep|keep-alive)",? ?', r"\1 ", text) if kind == "dockerfile" else text
        for line in [] if kind == "yaml" else plain.splitlines():
            if match := re.search(rf"(?:^|.*[\s/\[])ezeep +((?:{'|'.join(COMMANDS)})\b.*)", line):
                words = shlex.split(re.split(r" (?:\|+|>)", match[1])[0].rstrip("] "), comments=True)
                found.append(words)
    return found


@pytest.mark.parametrize("arguments", command_lines(), ids=" ".join)
def test_a_command_line_is_understood(arguments: list[str]) -> None:
    understand(arguments)


def test_all_command_lines_are_found() -> None:
    """As many as the page has: the pattern above would pass over others in silence."""
    assert len(command_lines()) == 31
    assert {kind for kind, _ in BLOCKS} == {"sh", "ini", "crontab", "dockerfile", "yaml"}


DOCKER = """\
import os
import sys
import yaml

verb, *arguments = sys.argv[2:]
services = yaml.safe_load(open("compose.yaml"))["services"]
if verb == "cp":
    name, _, path = arguments[0].partition(":")
    assert name in services and path.startswith("/data/")
    source = path.replace("/data/", f"{os.environ['ROOT']}/data/")
    os.execvp("cp", ["cp", "-R", source, arguments[1]])
if verb != "run":
    sys.exit(verb not in {"build", "up", "logs"} or not {*arguments} <= {*services, "--detach"})
name, *command = [each for each in arguments if each not in {"--rm", "-T"}]
service, root = services[name], os.environ["ROOT"]
command = [each.replace("/data/", f"{root}/data/") for each in command or service["command"]]
if any("/in/" in each for each in command):
    assert "./in:/in:ro" in service["volumes"]
    command = [each.replace("/in/", "in/") for each in command]
assert service["environment"] == ["EZEEP_CLIENT_ID"]
os.execvp(command[0], command)
"""
"""`docker compose`, without containers: a service of compose.yaml is a process, and its volumes are folders."""


@pytest.fixture
def env(login: dict[str, str], sandbox: Sandbox, tmp_path: Path) -> dict[str, str]:
    """A folder with `ezeep`, and in place of programs that need root, a cluster or a person, some that do not."""
    sandbox.behaviour.password_grant = True
    bin_folder = tmp_path / "bin"
    real = MovedClock(sandbox, tmp_path).install(bin_folder).rename(bin_folder / "real")
    scripts = {
        "ezeep": f'[ "$1 $2" != "login --device" ] || {{ shift 2; set -- login --password "$@"; }}\nexec {shlex.quote(str(real))} "$@"',
        "sudo": '[ "$1" = tee ] || exit 0\nexec cat >"$ROOT/unit"',
        "kubectl": '[ "$2" != secret ] || cp login.json "$ROOT/secret.json"',
        "systemctl": "",
        "docker": f'exec {shlex.quote(sys.executable)} "$ROOT/docker.py" "$@"',
    }
    (tmp_path / "docker.py").write_text(DOCKER)
    for name, script in scripts.items():
        (bin_folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (bin_folder / name).chmod(0o755)
    (tmp_path / "work").mkdir()
    return login | {
        "PATH": f"{bin_folder}:{os.environ['PATH']}",
        "ROOT": str(tmp_path),
        "EZEEP_USERNAME": SANDBOX_ADMIN,
        "EZEEP_PASSWORD": SANDBOX_PASSWORD,
    }


def shell(text: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-eu", "-c", text], cwd=Path(env["ROOT"]) / "work",
        env=environment(env), capture_output=True, text=True, check=False,
    )  # shorter than one item a line  # fmt: skip


@pytest.mark.slow
async def test_the_first_example(env: dict[str, str], tmp_path: Path) -> None:
    """A login, and a command that keeps it alive until SIGTERM."""
    text = documents.marked("docs/how-to/unattended.md", "first-example").replace(
        "ezeep keep-alive", "exec ezeep keep-alive"
    )
    process = await asyncio.create_subprocess_exec(
        "sh", "-eu", "-c", text, cwd=tmp_path / "work", env=environment(env), stderr=-1, stdout=-1
    )
    running = Keeping(process)
    reading = asyncio.create_task(running.read())
    await running.wrote("kept alive with a refresh every 1200 s")
    process.send_signal(signal.SIGTERM)
    assert await process.wait() == 0
    await reading
    assert (tmp_path / "work" / "login.json").exists()


@pytest.mark.slow
async def test_the_unit_is_installed_as_it_is_printed(env: dict[str, str], tmp_path: Path) -> None:
    done = await asyncio.to_thread(
        shell, documents.marked("docs/how-to/unattended.md", "systemd-install"), env
    )
    assert (done.returncode, done.stderr) == (0, "")
    unit = (tmp_path / "unit").read_text()
    assert f"--token-file {tmp_path / 'login.json'}\n" in unit
    assert SANDBOX_ADMIN not in unit


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
async def test_systemd_accepts_the_nightly_job(env: dict[str, str], tmp_path: Path) -> None:
    """And the program in it does what it has to, in the folder of the service."""
    paths = []
    for text in (
        documents.marked("docs/how-to/unattended.md", "systemd-service"),
        documents.marked("docs/how-to/unattended.md", "systemd-timer"),
    ):
        name = text.splitlines()[0].rpartition("/")[2]
        paths.append(tmp_path / name)
        paths[-1].write_text(text.replace("/usr/local/bin/ezeep", "/bin/true"))
    (tmp_path / "ezeep-keep-alive.service").write_text("[Service]\nExecStart=/bin/true\n")
    done = await asyncio.to_thread(
        subprocess.run, ["systemd-analyze", "verify", *paths], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if "ezeep-provision" in line] == []
    service = documents.marked("docs/how-to/unattended.md", "systemd-service")
    (command,) = re.findall(r"^ExecStart=/usr/local/bin/(.*)$", service, re.MULTILINE)
    shutil.copy(tmp_path / "login.json", tmp_path / "work")
    (tmp_path / "work" / "people.csv").write_text(f"group,member\nNight shift,{SANDBOX_ADMIN}\n")
    done = await asyncio.to_thread(shell, command, env)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "work" / "report.csv").exists()


@pytest.mark.slow
async def test_the_lines_for_cron(env: dict[str, str], sandbox: Sandbox, tmp_path: Path) -> None:
    """Nothing is on standard error. Only the first one of two refreshes sends a request, if the tokens are old."""
    (tmp_path / "people.csv").write_text(f"group,member\nNight shift,{SANDBOX_ADMIN}\n")
    refresh, provision = [
        re.sub(r"^(\S+ +){5}/usr/local/bin/", "", line)
        for line in documents.marked("docs/how-to/unattended.md", "crontab").strip().splitlines()
    ]
    for line in (refresh, refresh.replace("900", "0"), provision):
        done = await asyncio.to_thread(shell, line, env | {"HOME": str(tmp_path)})
        assert (done.returncode, done.stderr) == (0, "")
    assert sandbox.refreshes == 1


@pytest.mark.slow
async def test_the_secret_of_kubernetes_is_copied_once(
    env: dict[str, str], sandbox: Sandbox, tmp_path: Path
) -> None:
    """At the first start, and when it is another login. A restart keeps the tokens of the volume."""
    done = await asyncio.to_thread(
        shell, documents.marked("docs/how-to/containers.md", "kubernetes-login"), env
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert not (tmp_path / "work" / "login.json").exists()
    assert (
        VOLUME["metadata"]["name"]
        == DEPLOYMENT["spec"]["template"]["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"]
    )
    secret, data = tmp_path / "secret", tmp_path / "data"
    secret.mkdir()
    data.mkdir()
    shutil.move(tmp_path / "secret.json", secret / "login.json")
    (secret / "login.json").chmod(0o644)  # as Kubernetes mounts it
    first, keeping_alive, provision = [
        each for manifest in (DEPLOYMENT, CRON_JOB) for each in containers_of(manifest)
    ]
    script = first["command"][2].replace("/data/", f"{data}/").replace("/secret/", f"{secret}/")
    assert first["command"][:2] == ["sh", "-euc"]
    assert keeping_alive["env"] == provision["env"]
    env |= {"EZEEP_TOKEN_FILE": f"{data}/login.json"}

    async def start_and_refresh() -> None:
        for text in (script, "ezeep refresh >/dev/null"):
            done = await asyncio.to_thread(shell, text, env)
            assert (done.returncode, done.stderr) == (0, "")

    for _ in range(3):
        await start_and_refresh()
    assert (data / "login.json").stat().st_mode & 0o077 == 0
    tokens = await FileTokenStore(data / "login.json").load()
    assert tokens is not None
    sandbox._grants.revoke(tokens.refresh_token)
    done = await asyncio.to_thread(shell, f"({script})\nezeep refresh", env)
    assert done.returncode == 4
    await put(FileTokenStore(secret / "login.json"), sandbox.tokens())
    await start_and_refresh()
    assert sandbox.refreshes == 4


@pytest.mark.slow
async def test_the_recipes_for_ci(env: dict[str, str], sandbox: Sandbox, tmp_path: Path) -> None:
    work = tmp_path / "work"
    (work / "people.csv").write_text(f"group,member\nNight shift,{SANDBOX_ADMIN}\n")
    (work / "password.txt").write_text(SANDBOX_PASSWORD)
    log_in = documents.marked("docs/how-to/unattended.md", "ci-password")
    again = documents.marked("docs/how-to/unattended.md", "log-in-again")
    done = await asyncio.to_thread(shell, log_in, env)
    assert (done.returncode, done.stderr) == (0, "")
    tokens = await FileTokenStore(work / "login.json").load()
    assert tokens is not None
    sandbox._grants.revoke(tokens.refresh_token)
    for message in ("run ezeep login", ""):
        done = await asyncio.to_thread(shell, again, env)
        assert done.returncode == 0
        assert message in done.stderr if message else done.stderr == ""
    (work / "login.json").unlink()
    behaviour = sandbox.behaviour
    behaviour.client_credentials_grant, behaviour.client_secret = True, "s3cret-of-the-client"
    env |= {"EZEEP_CLIENT_SECRET": behaviour.client_secret}
    done = await asyncio.to_thread(shell, documents.marked("docs/how-to/unattended.md", "ci"), env)
    assert (done.returncode, done.stderr) == (0, "")
    assert not (work / "login.json").exists()


@pytest.mark.slow
async def test_a_nightly_job_in_a_container(env: dict[str, str], sandbox: Sandbox, tmp_path: Path) -> None:
    """All steps in their order, with a `docker` that starts processes: at the end the group has its member."""
    steps = [
        documents.marked("docs/how-to/containers.md", "compose-folder"),
        documents.marked("docs/how-to/containers.md", "compose-login"),
        documents.marked("docs/how-to/containers.md", "compose-try"),
    ]
    copy, data, folder = tmp_path / "copy", tmp_path / "data", tmp_path / "work" / "nightly"
    copy.mkdir()
    data.mkdir()
    env |= {"EZEEP_TOKEN_FILE": str(data / "login.json"), "HOME": str(data), "XDG_STATE_HOME": ""}
    for number, step in enumerate(steps):
        text = step.replace("PATH_TO_THE_COPY", str(copy)) if number == 0 else f"cd nightly\n{step}"
        done = await asyncio.to_thread(shell, text, env)
        assert done.returncode == 0, done.stderr
        if number == 0:
            (folder / "compose.yaml").write_text(documents.marked("docs/how-to/containers.md", "compose"))
            (folder / "in" / "people.csv").write_text(f"group,member\nNight shift,{SANDBOX_ADMIN}\n")
    assert "Night shift" in [group.name for group in sandbox.organization.groups.values()]
    assert (data / "report.csv").exists()
    files = documents.marked("docs/how-to/containers.md", "compose-files")
    done = await asyncio.to_thread(shell, f"cd nightly\n{files}", env)
    assert done.returncode == 0, done.stderr
    assert (folder / "report.csv").read_text().count(",updated,") == 1
    assert len([*(folder / "audit").glob("*.jsonl")]) == 1
    assert "/audit/" in done.stdout
    line = documents.marked("docs/how-to/containers.md", "compose-cron").strip()
    done = await asyncio.to_thread(
        shell, re.sub(r"^(\S+ +){5}", "", line), env | {"HOME": str(tmp_path / "work")}
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
async def test_a_file_is_converted_before_it_is_applied(env: dict[str, str], tmp_path: Path) -> None:
    """If it cannot be converted, the file of yesterday is not applied."""
    data, folder = tmp_path / "data", tmp_path / "in"
    data.mkdir()
    folder.mkdir()
    (folder / "directory.csv").write_text(
        f"Name;E-Mail;Department;Offices\nAda;{SANDBOX_ADMIN};Night shift;\n"
    )
    program = documents.marked("docs/how-to/spreadsheets.md", "convert")
    (folder / "convert.py").write_text(program.replace("directory.csv", f"{folder}/directory.csv"))
    (tmp_path / "bin" / "python").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    (tmp_path / "bin" / "python").chmod(0o755)
    part = yaml.safe_load(documents.marked("docs/how-to/containers.md", "compose-convert"))
    *start, script = part["command"]
    assert start == ["sh", "-c"]
    script = script.replace("/data", str(data)).replace("/in/", f"{folder}/")
    understand(shlex.split(script.partition("exec ezeep ")[2]))
    script = shlex.join([*start, script])  # in a shell of its own: `-e` of this one would hide a `;`
    done = await asyncio.to_thread(shell, script, env)
    assert done.returncode == 0, done.stderr
    assert "Night shift" in (data / "report.csv").read_text()
    (data / "report.csv").unlink()
    (folder / "directory.csv").unlink()
    done = await asyncio.to_thread(shell, script, env)
    assert done.returncode == 1
    assert (data / "people.csv").exists()
    assert not (data / "report.csv").exists()


def test_the_line_for_intended_removals_is_that_of_the_service() -> None:
    line = documents.marked("docs/how-to/containers.md", "compose-removals").replace("\\\n", "")
    *words, option, number = shlex.split(line)
    assert (option, number.isdigit()) == ("--max-removals", True)
    service = [each for each in COMPOSE["services"]["provision"]["command"] if "report" not in each]
    assert words == ["docker", "compose", "run", "--rm", "provision", *service]


def test_systemctl_names_the_units_of_the_page() -> None:
    units = re.findall(r"ezeep-[\w.-]+", documents.marked("docs/how-to/unattended.md", "systemd-start"))
    assert set(units) == {"ezeep-provision.timer", "ezeep-provision"}


def test_docker_without_compose_has_the_mounts_of_compose() -> None:
    text = documents.marked("docs/how-to/containers.md", "docker")
    _, build, *lines = re.sub(r" *\\\n *", " ", text).splitlines()
    assert build == f"docker build --tag {COMPOSE['services']['keep-alive']['image']} ."
    assert all("--volume ezeep:/data --" in line for line in lines)
    assert [line.split(" ezeep ", 1)[-1].split()[0] for line in lines if " ezeep ezeep" in line] == [
        "ezeep"
    ] * 2
    assert {"--stop-timeout 100", "stop_grace_period: 100s"} <= {
        *re.findall(r"--stop-timeout \d+", lines[1]),
        f"stop_grace_period: {COMPOSE['services']['keep-alive']['stop_grace_period']}",
    }


def test_the_image_keeps_its_login_on_a_volume() -> None:
    text = documents.marked("docs/how-to/containers.md", "image")
    assert "VOLUME /data" in text
    assert "EZEEP_TOKEN_FILE=/data/login.json" in text
    assert "ENV HOME=/data " in text  # `useradd` makes no home, and audit logs are below it
    homes = [
        each["value"]
        for container in containers_of(DEPLOYMENT)
        for each in container.get("env", ())
        if each["name"] == "HOME"
    ]
    assert homes == ["/data"]
    mounts = [container["volumeMounts"][0] for container in containers_of(DEPLOYMENT)]
    assert mounts == [{"name": "data", "mountPath": "/data"}] * 2


@pytest.mark.slow
async def test_the_rehearsal(env: dict[str, str], sandbox: Sandbox, tmp_path: Path) -> None:
    """The job works, all logins are ended, and the job says so. A new login makes it work again."""
    sandbox.behaviour.page = True
    work = tmp_path / "work"
    shutil.copy(tmp_path / "login.json", work)
    (work / "people.csv").write_text(f"group,member\nNight shift,{SANDBOX_ADMIN}\n")
    env |= {"EZEEP_TOKEN_FILE": str(work / "login.json")}
    text = documents.marked("docs/how-to/unattended.md", "rehearse")
    done = await asyncio.to_thread(shell, text, env)
    assert done.returncode == 0, done
    shown = documents.marked("docs/how-to/unattended.md", "rehearsed")
    written = f"{done.stderr}{done.stdout.splitlines()[-1]}\n"
    client, path = sandbox.oauth_app.client_id, str(work / "login.json")
    assert written.replace(client, "CLIENT-ID").replace(path, "login.json") == shown
    again = "ezeep login --device && ezeep provision apply people.csv --mode exact --yes"
    done = await asyncio.to_thread(shell, again, env)
    assert done.returncode == 0, done


async def test_the_button_of_the_sandbox_page(env: dict[str, str], sandbox: Sandbox) -> None:
    """docs/how-to/sandbox.md: its line for programs, and the names of its table."""
    text = (documents.ROOT / "docs/how-to/sandbox.md").read_text()
    rows = re.findall(r"^\| ([^|]+) \| `([a-z0-9-]+)` \|", text, re.MULTILINE)
    assert rows == [(action.label, name) for name, action in ACTIONS.items()]
    line = documents.marked("docs/how-to/sandbox.md", "button")
    assert (
        line.split()
        == documents.marked("docs/how-to/unattended.md", "rehearse")
        .replace("--silent ", "")
        .replace("\\\n", "")
        .splitlines()[1]
        .split()
    )


@pytest.mark.slow
def test_the_lines_for_a_wheel(tmp_path: Path) -> None:
    """`pip` gets the path of the wheel with the extra."""
    copy, run = documents.marked("docs/how-to/containers.md", "image-wheel").splitlines()
    assert copy == "COPY *.whl /wheels/"
    (tmp_path / "ezeep_async-0.1.0-py3-none-any.whl").touch()
    (tmp_path / "pip").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (tmp_path / "pip").chmod(0o755)
    command = run.removeprefix("RUN ").replace("/wheels", str(tmp_path))
    done = subprocess.run(
        ["sh", "-euc", command],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == f"{tmp_path}/ezeep_async-0.1.0-py3-none-any.whl[cli]"


def test_the_people_of_kubernetes_are_fetched_before_the_job(tmp_path: Path) -> None:
    """The program of the init container runs, and its volume is the one that the job reads."""
    part = yaml.safe_load(documents.marked("docs/how-to/containers.md", "kubernetes-fetch"))
    (fetch,) = part["initContainers"]
    (provision,) = containers_of(CRON_JOB)
    assert fetch["volumeMounts"] == [{"name": "people", "mountPath": "/in"}]
    assert {each["name"] for each in provision["volumeMounts"]} == {each["name"] for each in part["volumes"]}
    assert fetch["image"] == provision["image"]
    (tmp_path / "there.csv").write_text("group,member\n")
    program = fetch["command"][2].replace("https://hr.example/people.csv", (tmp_path / "there.csv").as_uri())
    exec(program.replace("/in/", f"{tmp_path}/"))
    assert (tmp_path / "people.csv").read_text() == "group,member\n"


def test_kubectl_names_what_the_page_creates() -> None:
    """Secrets, ConfigMaps, the deployment and the paths in its volume."""
    login = documents.marked("docs/how-to/containers.md", "kubernetes-login")
    again = documents.marked("docs/how-to/containers.md", "kubernetes-again").replace("\\\n", "")
    people = documents.marked("docs/how-to/containers.md", "kubernetes-people").replace("\\\n", "")
    files = documents.marked("docs/how-to/containers.md", "kubernetes-files").replace("\\\n", "")
    created = re.findall(r"^kubectl create .*$", login, re.MULTILINE)
    for text, first in ((again, created[0]), (people, created[1])):
        (line,) = re.findall(r"^kubectl create .*$", text, re.MULTILINE)
        words, options = shlex.split(line.partition("|")[0]), ["--dry-run=client", "-o", "yaml"]
        assert words == [*shlex.split(first), *options]
    name = f"deployment/{DEPLOYMENT['metadata']['name']}"
    assert f"kubectl rollout restart {name}\n" in again
    assert re.findall(r"kubectl exec (\S+) -- ", files) == [name] * 3
    (provision,) = containers_of(CRON_JOB)
    assert "/data/report.csv" in provision["command"]
    assert "cat /data/report.csv" in files
    assert "-cC /data/.local/state/ezeep_async audit" in files  # HOME of the containers is /data


def test_the_parts_for_a_proxy_fit_the_files() -> None:
    """docs/how-to/proxies.md: what it adds to compose.yaml and to the deployment keeps what they have."""
    compose = yaml.safe_load(documents.marked("docs/how-to/proxies.md", "compose-proxy"))
    for name, service in compose["services"].items():
        before = COMPOSE["services"][name]
        assert {*before["environment"]} < {*service["environment"]}
        assert {*before["volumes"]} < {*service["volumes"]}
        (ca,) = {*service["volumes"]} - {*before["volumes"]}
        assert f"SSL_CERT_FILE={ca.split(':')[1]}" in service["environment"]
    part = yaml.safe_load(documents.marked("docs/how-to/proxies.md", "kubernetes-proxy"))
    (container,) = part["containers"]
    assert container["name"] in {each["name"] for each in containers_of(DEPLOYMENT)}
    paths = {each["name"]: each["value"] for each in container["env"]}
    (mount,) = container["volumeMounts"]
    assert paths["SSL_CERT_FILE"].startswith(f"{mount['mountPath']}/")
    assert mount["name"] == part["volumes"][0]["name"]


async def test_from_env_with_a_file_that_is_only_read(
    login: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = documents.marked("docs/how-to/unattended.md", "read-only")
    for name, value in login.items():
        monkeypatch.setenv(name, value)
    scope = {"EzeepSession": EzeepSession, "ReadOnlyTokens": ReadOnlyTokens}
    exec(text.replace("login.json", login["EZEEP_TOKEN_FILE"]), scope)
    async with scope["session"] as session:
        assert (await session.accounts.me()).email == SANDBOX_ADMIN
