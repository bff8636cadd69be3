"""Profiles of the configuration file: several organizations, whose logins are never mixed up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.command_line import ezeep
from helpers.support import put

from ezeep_async import FileTokenStore
from ezeep_async.cli.configuration import Configuration
from ezeep_async.cli.connection import HERE, find_account
from ezeep_async.sandbox import SANDBOX_PASSWORD, Sandbox


def written(tmp_path: Path, text: str) -> dict[str, str]:
    path = tmp_path / "config.toml"
    path.write_text(text)
    return {"EZEEP_CONFIG": str(path)}


TWO = """
client_id = "top"
scope = "printing webhooks"
token_file = "top.json"

[profiles.sales]
client_id = "of-sales"
token_file = "sales.json"

[profiles.labs]
scope = "printing"
"""


# --- which setting counts ------------------------------------------------------------------------------------------


def test_a_profile_comes_before_the_top_level(tmp_path: Path) -> None:
    environ = written(tmp_path, TWO)
    sales = Configuration(environ, profile="sales")
    assert (sales.get("client_id"), sales.get("scope")) == ("of-sales", "printing webhooks")
    labs = Configuration(environ, profile="labs")
    assert (labs.get("client_id"), labs.get("scope")) == ("top", "printing")
    assert Configuration(environ).get("client_id") == "top"


def test_the_environment_comes_before_the_profile(tmp_path: Path) -> None:
    environ = written(tmp_path, TWO) | {"EZEEP_PROFILE": "sales", "EZEEP_CLIENT_ID": "from-outside"}
    configuration = Configuration(environ)
    assert (configuration.profile, configuration.get("client_id")) == ("sales", "from-outside")
    assert configuration.get("token_file") == str(tmp_path / "sales.json")
    assert configuration.overridden() == ["EZEEP_CLIENT_ID"]


def test_the_option_comes_before_the_environment(tmp_path: Path) -> None:
    environ = written(tmp_path, TWO) | {"EZEEP_PROFILE": "sales"}
    assert Configuration(environ, profile="labs").profile == "labs"
    assert Configuration(environ, profile="").get("client_id") == "top"


@pytest.mark.parametrize(
    ("top", "profile", "name", "value"),
    [
        # A secret belongs to its client.
        ('client_secret = "x"', 'client_id = "other"', "client_secret", None),
        ('client_secret_file = "x"', 'client_id = "other"', "client_secret_file", None),
        ('client_secret_file = "x"', 'client_secret = "y"', "client_secret_file", None),
        ('client_secret = "x"', 'scope = "printing"', "client_secret", "x"),
        # A login belongs to its profile.
        ('token_file = "x"', 'scope = "printing"', "token_file", None),
        ('token_store = "keyring"', 'scope = "printing"', "token_store", "keyring"),
    ],
)
def test_what_a_profile_takes_over(
    tmp_path: Path, top: str, profile: str, name: str, value: str | None
) -> None:
    environ = written(tmp_path, f'client_id = "c"\n{top}\n[profiles.one]\n{profile}\n')
    assert Configuration(environ, profile="one").get(name) == value


def test_two_profiles_never_share_a_login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also with one client at one address."""
    environ = written(tmp_path, 'client_id = "c"\n[profiles.a]\n[profiles.b]\n')
    monkeypatch.setenv("EZEEP_CONFIG", environ["EZEEP_CONFIG"])
    places = {find_account(HERE, None, name).place for name in ("", "a", "b")}
    assert len(places) == 3
    environ = written(tmp_path, 'client_id = "c"\ntoken_store = "keyring"\n[profiles.a]\n[profiles.b]\n')
    places = {find_account(HERE, None, name).place for name in ("", "a", "b")}
    assert len(places) == 3


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('profiles = "x"', "profiles must be tables"),
        ("[profiles]\na = 1\n", r"profiles\.a must be a table"),
        ('[profiles."a b"]\n', "cannot be the name of a profile"),
        ('[profiles."../x"]\n', "cannot be the name of a profile"),
        ("[profiles.a]\n[profiles.A]\n", "cannot be the name of a profile"),
        ('[profiles.a]\nclient_sekret = "s3cret"\n', r"not known: profiles\.a\.client_sekret"),
        ("[profiles.a]\nclient_secret = 5\n", r"profiles\.a\.client_secret must be text"),
        ('[profiles.a.b]\nx = "s3cret"\n', r"not known: profiles\.a\.b"),
    ],
)
def test_profiles_that_cannot_be_understood(tmp_path: Path, text: str, what: str) -> None:
    with pytest.raises(ValueError, match=what) as caught:
        Configuration(written(tmp_path, text))
    assert "s3cret" not in str(caught.value)


# --- commands ------------------------------------------------------------------------------------------------------


@pytest.fixture
async def two(sandbox: Sandbox, tmp_path: Path) -> dict[str, str]:
    """Two profiles, of which `sales` is logged in."""
    await put(FileTokenStore(tmp_path / "sales.json"), sandbox.tokens())
    text = f'account_url = "{sandbox.endpoints.account}"\napi_url = "{sandbox.endpoints.api}"\n'
    for name in ("sales", "labs"):
        text += (
            f'[profiles.{name}]\nclient_id = "{sandbox.oauth_app.client_id}"\ntoken_file = "{name}.json"\n'
        )
    return written(tmp_path, text)


async def test_a_command_uses_its_profile(two: dict[str, str]) -> None:
    assert (await ezeep("groups", "list", "--profile", "sales", env=two)).code == 0
    assert (await ezeep("--profile", "sales", "groups", "list", env=two)).code == 0
    assert (await ezeep("groups", "list", env=two | {"EZEEP_PROFILE": "sales"})).code == 0
    ran = await ezeep("groups", "list", "--profile", "labs", env=two | {"EZEEP_PROFILE": "sales"})
    assert (
        ran.refused() == "not logged in: run ezeep login --profile labs, with --device if there is no browser"
    )
    assert (await ezeep("groups", "list", env=two)).refused().startswith("no client id: ")


async def test_a_login_with_a_profile_is_for_that_profile(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.behaviour.password_grant = True
    me = sandbox.organization.people[sandbox.organization.admin_id]
    env = written(
        tmp_path,
        f'client_id = "{sandbox.oauth_app.client_id}"\naccount_url = "{sandbox.endpoints.account}"\n'
        f'api_url = "{sandbox.endpoints.api}"\n[profiles.a]\n[profiles.b]\n',
    )
    arguments = ("login", "--password", "--username", me.email, "--profile", "a")
    ran = await ezeep(*arguments, env=env, stdin=f"{SANDBOX_PASSWORD}\n")
    assert ran.code == 0, ran.err
    assert ran.out.endswith("The other commands need --profile a too, or EZEEP_PROFILE\n")
    (stored,) = (tmp_path / "state").rglob("*.json")
    assert stored.name.startswith("a-")
    assert (await ezeep("groups", "list", "--profile", "a", env=env)).code == 0
    for other in (("--profile", "b"), ()):
        assert (await ezeep("groups", "list", *other, env=env)).refused().startswith("not logged in: ")


async def test_whoami_names_the_profile(two: dict[str, str]) -> None:
    assert "profile: sales\n" in (await ezeep("whoami", "--profile", "sales", env=two)).out
    ran = await ezeep("whoami", "--json", env=two | {"EZEEP_PROFILE": "sales"})
    assert json.loads(ran.out)["profile"] == "sales"


async def test_an_unknown_profile_names_the_known_ones(two: dict[str, str]) -> None:
    ran = await ezeep("groups", "list", "--profile", "salse", env=two)
    assert (
        ran.refused() == f"no profile is named 'salse' in {two['EZEEP_CONFIG']}: --profile takes labs, sales"
    )
    ran = await ezeep("groups", "list", "--profile", "x", env={"EZEEP_CONFIG": ""})
    assert "there are no profiles" in ran.refused()


async def test_a_profile_in_a_sandbox(two: dict[str, str]) -> None:
    ran = await ezeep("groups", "list", "--sandbox", "--profile", "sales", env=two)
    assert "remove --profile, or --sandbox" in ran.refused()
    assert (await ezeep("groups", "list", "--sandbox", env=two | {"EZEEP_PROFILE": "sales"})).code == 0


async def test_another_login_of_the_environment_is_reported(
    two: dict[str, str], login: dict[str, str]
) -> None:
    ran = await ezeep("groups", "list", "--profile", "labs", env=two | login)
    assert ran.code == 0
    assert ran.err.splitlines() == [
        f"ezeep: {name} of the environment is used instead of what profile 'labs' says"
        for name in ("EZEEP_CLIENT_ID", "EZEEP_TOKEN_FILE")
    ]
    assert (await ezeep("groups", "list", "--profile", "labs", "--quiet", env=two | login)).err == ""
    # Who sets both in the environment means both.
    assert (await ezeep("groups", "list", env=two | login | {"EZEEP_PROFILE": "labs"})).err == ""


async def test_the_list_of_profiles(two: dict[str, str], sandbox: Sandbox, tmp_path: Path) -> None:
    ran = await ezeep("profiles", "--json", env=two | {"EZEEP_PROFILE": "sales"})
    labs, sales = json.loads(ran.out)
    assert sales == {
        "name": "sales",
        "is_used": True,
        "chosen_by": "EZEEP_PROFILE",
        "client_id": sandbox.oauth_app.client_id,
        "account_url": sandbox.endpoints.account,
        "kept_in": str(tmp_path / "sales.json"),
        "problem": None,
    }
    assert (labs["name"], labs["is_used"], labs["chosen_by"]) == ("labs", False, None)
    ran = await ezeep("profiles", "--profile", "labs", env=two)
    assert ran.out.startswith("labs\tused: --profile\t")
    ran = await ezeep("profiles", env=two)
    assert ran.out.startswith("(no profile)\tused\t\tno client id: ")
    assert ran.out.endswith(f"The configuration file is {two['EZEEP_CONFIG']}\n")


async def test_without_a_file_there_is_no_profile() -> None:
    ran = await ezeep("profiles", "--quiet", env={"EZEEP_CLIENT_ID": "c"})
    assert len(ran.out.splitlines()) == 1
    assert ran.out.startswith("(no profile)\tused\tc\t")
