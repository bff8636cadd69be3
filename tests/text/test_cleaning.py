"""Settings as people give them mean the same on every way in: environment, file, option, constructor."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.support import open_session

from ezeep_async import Endpoints, EzeepSession, OAuthApp, ReadOnlyTokens, Settings, TokenStoreCorrupt
from ezeep_async.cli.connection import Configuration, Connection, open_account
from ezeep_async.sandbox import Sandbox


ID, SECRET = "client", "s3cret"
AROUND = [
    "{}",
    "{}\n",
    "{}\r\n",
    " {} ",
    '"{}"',
    "'{}'",
    '"{}"\r',
    "\ufeff{}",
    "\t{}\n\n",
    '" {} "',
    "\u00a0{}",
]


def toml(text: str) -> str:
    """A text as TOML has it in double quotes."""
    return '"' + "".join(f"\\U{ord(character):08x}" for character in text) + '"'


def of_app(app: OAuthApp) -> tuple[str, str, str | None]:
    return app.client_id, app.client_secret, app.redirect_uri


@pytest.fixture(autouse=True)
def _empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("EZEEP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


async def from_env(values: dict[str, str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> OAuthApp:
    return EzeepSession.from_env({f"EZEEP_{name.upper()}": value for name, value in values.items()})._core.app


async def in_the_environment(
    values: dict[str, str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> OAuthApp:
    for name, value in values.items():
        monkeypatch.setenv(f"EZEEP_{name.upper()}", value)
    async with open_account(Connection()) as account:
        return account.app


async def in_the_file(values: dict[str, str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> OAuthApp:
    path = folder / "config.toml"
    path.write_text("".join(f"{name} = {toml(value)}\n" for name, value in values.items()), "utf-8")
    monkeypatch.setenv("EZEEP_CONFIG", f'"{path}"\n')
    async with open_account(Connection()) as account:
        return account.app


async def as_options(values: dict[str, str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> OAuthApp:
    path = folder / "secret"
    path.write_text(values["client_secret"], "utf-8", newline="")
    connection = Connection(client_id=values["client_id"], client_secret_file=path)
    async with open_account(connection, redirect_uri=values["redirect_uri"]) as account:
        return account.app


async def constructed(values: dict[str, str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> OAuthApp:
    return OAuthApp(**values)


WAYS: list[Callable[[dict[str, str], Path, pytest.MonkeyPatch], object]] = [
    from_env, in_the_environment, in_the_file, as_options, constructed
]  # shorter than one item a line  # fmt: skip


@pytest.mark.may_block
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("around", AROUND)
async def test_what_is_around_a_value_does_not_count(
    way: Callable[..., object], around: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = {"client_id": ID, "client_secret": SECRET, "redirect_uri": "http://127.0.0.1:8400/callback"}
    values = {name: around.format(value) for name, value in wanted.items()}
    app = await way(values, tmp_path, monkeypatch)
    assert of_app(app) == (ID, SECRET, wanted["redirect_uri"])


@pytest.mark.may_block
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("character", ["\x1b", "\n", "\t", "\x7f", "\x85", "\u2028"])
async def test_a_control_character_is_refused_with_the_name_of_the_setting(
    way: Callable[..., object], character: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {
        "client_id": ID,
        "client_secret": f"{SECRET}{character}more",
        "redirect_uri": "http://127.0.0.1/",
    }
    with pytest.raises(ValueError, match=r"client_secret|CLIENT_SECRET|the secret in .*secret") as caught:
        await way(values, tmp_path, monkeypatch)
    assert "control character" in str(caught.value)
    assert SECRET not in str(caught.value)


VARIABLES = [
    "EZEEP_CLIENT_ID", "EZEEP_CLIENT_SECRET", "EZEEP_REDIRECT_URI", "EZEEP_TOKEN_FILE", "EZEEP_ACCOUNT_URL",
    "EZEEP_API_URL", "EZEEP_PRINT_URL", "EZEEP_ACCESS_TOKEN", "EZEEP_REFRESH_TOKEN", "EZEEP_TOKEN_EXPIRES_AT",
]  # shorter than one item a line  # fmt: skip


@pytest.mark.parametrize("name", VARIABLES)
async def test_every_variable_names_itself(name: str) -> None:
    environ = {"EZEEP_CLIENT_ID": ID, "EZEEP_ACCESS_TOKEN": "token", name: f"{SECRET}\x1b[31m"}
    with pytest.raises((ValueError, TokenStoreCorrupt), match=name) as caught:
        await EzeepSession.from_env(environ)._core._store.load()
    assert SECRET not in str(caught.value)


@pytest.mark.may_block
@pytest.mark.parametrize(
    "name", [*VARIABLES[:6], "EZEEP_CLIENT_SECRET_FILE", "EZEEP_TOKEN_STORE", "EZEEP_CONFIG"]
)
async def test_every_variable_of_the_command_names_itself(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EZEEP_CLIENT_ID", ID)
    monkeypatch.setenv(name, f"{SECRET}\x1b[31m")
    with pytest.raises(ValueError, match=name) as caught:
        async with open_account(Connection()):
            pass
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("value", ["\udcff", "a\udc80b"])
def test_bytes_that_are_no_text(value: str) -> None:
    """As the environment has them. A path may have such bytes; nothing else may."""
    with pytest.raises(ValueError, match="EZEEP_CLIENT_ID is not UTF-8"):
        EzeepSession.from_env({"EZEEP_CLIENT_ID": value})
    if os.name == "posix":
        assert EzeepSession.from_env({"EZEEP_CLIENT_ID": ID, "EZEEP_TOKEN_FILE": value})


def test_a_token_file_has_the_name_that_was_meant(tmp_path: Path) -> None:
    for around in AROUND:
        session = EzeepSession.from_env(
            {"EZEEP_CLIENT_ID": ID, "EZEEP_TOKEN_FILE": around.format(tmp_path / "f")}
        )
        assert session._core._store.path == tmp_path / "f"


@pytest.mark.parametrize("character", ["\u200b", "\u2060", "\ufeff", "\u202e", "\u00ad"])
def test_an_invisible_character_is_refused_by_name(character: str) -> None:
    """Web pages contain them, and copying takes them along."""
    for name in ("EZEEP_CLIENT_ID", "EZEEP_CLIENT_SECRET", "EZEEP_ACCOUNT_URL"):
        given = {"EZEEP_CLIENT_ID": ID, name: f"https://example.com{character}"}
        if character == "\ufeff":
            given[name] = f"https://exam{character}ple.com"
        with pytest.raises(ValueError, match=rf"^{name} has an invisible character \(U\+"):
            EzeepSession.from_env(given)


def test_blank_is_not_set() -> None:
    with pytest.raises(ValueError, match="EZEEP_CLIENT_ID is not set"):
        EzeepSession.from_env({"EZEEP_CLIENT_ID": ' "" \n'})
    assert Endpoints.from_env({"EZEEP_API_URL": "\n", "EZEEP_ACCOUNT_URL": "''"}) == Endpoints()


def test_addresses_and_proxies() -> None:
    for around in AROUND:
        assert Endpoints(api=around.format("https://x.example/")).api == "https://x.example"
        assert Settings(proxy=around.format("http://p.example:3128")).proxy == "http://p.example:3128"


@pytest.mark.parametrize("around", [*AROUND, "Bearer {}", "bearer  {}\n", '"Bearer {}"', "BEARER {}"])
async def test_a_token_that_was_copied_out_of_a_header(sandbox: Sandbox, around: str) -> None:
    tokens = sandbox.tokens()
    environ = {
        "EZEEP_ACCESS_TOKEN": around.format(tokens.access_token),
        "EZEEP_REFRESH_TOKEN": around.format(tokens.refresh_token),
        "EZEEP_TOKEN_EXPIRES_AT": '"2030-01-01T00:00:00Z"\n',
    }
    for store in (
        ReadOnlyTokens.from_env(environ),
        ReadOnlyTokens({name.removeprefix("EZEEP_").lower(): value for name, value in environ.items()}),
    ):
        async with open_session(sandbox, store) as session:
            await session.accounts.me()
        loaded = await store.load()
        assert loaded is not None
        assert (loaded.access_token, loaded.refresh_token) == (tokens.access_token, tokens.refresh_token)


@pytest.mark.parametrize("value", ["Bearer", "Authorization: Bearer s3cret", "s3 cret", "Token s3cret"])
async def test_what_is_no_token_is_refused_by_name(value: str) -> None:
    with pytest.raises(TokenStoreCorrupt, match="EZEEP_ACCESS_TOKEN is not a token") as caught:
        await ReadOnlyTokens.from_env({"EZEEP_ACCESS_TOKEN": value}).load()
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        'token_file = "C:\\temp\\login.json"\n',
        'token_file = "C:\\Users\\me\\login.json"\n',
        'token_file = "C:\\new"\n',
        'token_file = "C:\\t"\n',
        'client_secret_file = "D:\\f\\r\\b"\n',
    ],
)
def test_backslashes_in_toml(tmp_path: Path, text: str) -> None:
    """The message says what TOML makes of them, and what to write."""
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(
        ValueError, match=r"write a Windows path in single quotes, as in 'C:\\temp\\login\.json'"
    ):
        Configuration({"EZEEP_CONFIG": str(path)})
    path.write_text(text.replace('"', "'"))
    assert Configuration({"EZEEP_CONFIG": str(path)}).get("client_id") is None


@pytest.mark.may_block
async def test_a_secret_is_not_asked_for_in_vain(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is wrong with the other settings is said before."""
    monkeypatch.setattr("sys.stdin", None)  # no terminal
    with pytest.raises(ValueError, match="no client id"):
        async with open_account(Connection(client_secret_file=Path("-"))):
            pass
