"""Settings: typed, bounded, and a wrong one stops the start with a sentence that names it."""

import os
import stat
from pathlib import Path

import msgspec
import pytest

from webapp.devices import Device
from webapp.settings import LONGEST_SOCKET_PATH, SettingInvalid, Settings, make_folders, read_settings


def test_empty_environment_has_the_documented_defaults() -> None:
    settings = read_settings({})

    assert (settings.host, settings.port, settings.web_processes) == ("127.0.0.1", 8000, 2)
    assert (settings.api_token, settings.operator_token) == (None, None)
    assert (settings.queue_length, settings.client_limit, settings.grace_seconds) == (64, 32, 15)
    assert settings.idle_unload_seconds == 600
    assert (settings.device, settings.is_stand_in_allowed, settings.log_level) == ("auto", True, "info")


@pytest.mark.parametrize(
    "name", ["HOST", "PORT", "JETON_DATA_DIR", "JETON_WEB_PROCESSES", "STAND_IN", "JETON_API_TOKEN", "JETON_LOG_LEVEL"]
)
def test_empty_value_means_not_set(name: str) -> None:
    assert read_settings({name: ""}) == read_settings({})


BOUNDS = [
    ("PORT", "port", 1, 65535),
    ("JETON_WEB_PROCESSES", "web_processes", 1, 64),
    ("JETON_QUEUE_LENGTH", "queue_length", 0, 100_000),
    ("JETON_CLIENT_LIMIT", "client_limit", 1, 100_000),
    ("JETON_GRACE_SECONDS", "grace_seconds", 1, 3600),
    ("JETON_IDLE_UNLOAD_SECONDS", "idle_unload_seconds", 0, 86_400),
    ("JETON_LINKS_OF_ONE", "links_of_one", 1, 100_000),
    ("JETON_LINKS_TOTAL", "links_total", 1, 10_000_000),
]


@pytest.mark.parametrize(("name", "field", "least", "most"), BOUNDS, ids=lambda value: str(value))
def test_number_takes_both_edges_and_nothing_outside(name: str, field: str, least: int, most: int) -> None:
    assert getattr(read_settings({name: str(least)}), field) == least
    assert getattr(read_settings({name: str(most)}), field) == most
    for outside in (least - 1, most + 1):
        with pytest.raises(SettingInvalid, match=name):
            read_settings({name: str(outside)})


@pytest.mark.parametrize("text", ["x", "1.5", " 1", "1 ", "1_0", "0x1", "٣", "1\n", "1" * 5000, "-"])
def test_number_that_is_none_is_refused_by_name(text: str) -> None:
    with pytest.raises(SettingInvalid, match="PORT"):
        read_settings({"PORT": text})


@pytest.mark.parametrize(("text", "expected"), [("on", True), ("off", False), ("OFF", False), ("On", True)])
def test_switch_is_on_or_off(text: str, *, expected: bool) -> None:
    assert read_settings({"STAND_IN": text}).is_stand_in_allowed is expected


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("STAND_IN", "true"),
        ("STAND_IN", "0"),
        ("JETON_LOG_LEVEL", "loud"),
        ("JETON_DEVICE", "gpu"),
        ("JETON_DEVICE", "cuda:x"),
        ("JETON_DEVICE", "cuda:100"),
        ("JETON_DEVICE", "cpu\n"),
        ("JETON_CUDA_DEVICES", "NVIDIA H200"),
        ("JETON_CUDA_DEVICES", "NVIDIA H200: much"),
        ("JETON_GPU_MEMORY_SHARE", "0"),
        ("JETON_GPU_MEMORY_SHARE", "0.0"),
        ("JETON_GPU_MEMORY_SHARE", "1.1"),
        ("JETON_GPU_MEMORY_SHARE", "90 %"),
        ("JETON_GPU_MEMORY_SHARE", "nan"),
        ("JETON_MEMORY_BUDGET", "8"),
        ("JETON_MEMORY_BUDGET", "75 %"),
        ("JETON_MEMORY_BUDGET", "0 GB"),
    ],
)
def test_value_that_is_no_choice_is_refused_by_name(name: str, text: str) -> None:
    with pytest.raises(SettingInvalid, match=name):
        read_settings({name: text})


def test_memory_budget_is_an_amount_or_three_quarters_of_what_the_machine_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("webapp.settings.machine_memory", lambda: 8 * 10**9)

    assert read_settings({"JETON_MEMORY_BUDGET": "1.5 GB"}).memory_budget == 15 * 10**8
    assert read_settings({}).memory_budget == read_settings({"JETON_MEMORY_BUDGET": ""}).memory_budget == 6 * 10**9


@pytest.mark.parametrize("text", ["auto", "cpu", "cuda", "cuda:0", "cuda:12"])
def test_device_is_taken(text: str) -> None:
    assert read_settings({"JETON_DEVICE": text}).device == text


def test_devices_are_asked_of_the_driver_unless_they_are_stated() -> None:
    assert read_settings({}).stated_devices is None
    assert read_settings({"JETON_CUDA_DEVICES": "none"}).stated_devices == ()
    assert read_settings({"JETON_CUDA_DEVICES": "L4: 24 GB"}).stated_devices == (Device("cuda:0", "L4", 24 * 10**9),)


@pytest.mark.parametrize(("text", "share"), [("", 0.9), ("0.5", 0.5), (".25", 0.25), ("1", 1.0), ("0.001", 0.001)])
def test_share_of_a_devices_memory_is_a_part(text: str, share: float) -> None:
    assert read_settings({"JETON_GPU_MEMORY_SHARE": text}).device_share == share


@pytest.mark.parametrize("name", ["JETON_API_TOKEN", "JETON_OPERATOR_TOKEN"])
@pytest.mark.parametrize("text", ["short", "has a space", "é" * 10, "new\nline-", "x" * 7])
def test_credential_that_no_header_can_carry_is_refused_and_not_repeated(name: str, text: str) -> None:
    with pytest.raises(SettingInvalid, match=name) as refused:
        read_settings({name: text})

    assert text not in str(refused.value)


def test_credential_of_eight_characters_is_taken() -> None:
    assert read_settings({"JETON_API_TOKEN": "12345678"}).api_token == "12345678"


def test_paths_are_absolute_and_home_is_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)

    assert read_settings({"JETON_DATA_DIR": "data"}).data_dir == tmp_path / "data"
    assert read_settings({"JETON_DATA_DIR": "~/data"}).data_dir == tmp_path / "data"
    assert read_settings({}).cache_dir == tmp_path / ".cache" / "jeton"
    assert read_settings({"XDG_CACHE_HOME": "/x"}).cache_dir == Path("/x/jeton")


def test_sockets_lie_in_the_data_folder_where_their_path_is_short_enough() -> None:
    assert read_settings({"JETON_DATA_DIR": "/data"}).run_dir == Path("/data/run")


@pytest.mark.parametrize("folder", ["/" + "x" * 200, "/" + "é" * 60], ids=["characters", "bytes"])
def test_long_data_folder_has_a_short_socket_folder_of_its_own(folder: str) -> None:
    settings = read_settings({"JETON_DATA_DIR": folder})
    other = read_settings({"JETON_DATA_DIR": folder + "2"})

    for address in (settings.web_address, settings.engine_address):
        assert len(address.removeprefix("ipc://").encode()) <= LONGEST_SOCKET_PATH
    assert settings.run_dir != other.run_dir
    assert settings == read_settings({"JETON_DATA_DIR": folder})


# --- the database ---


@pytest.mark.parametrize(
    ("text", "url", "title"),
    [
        ("", "sqlite:////data/jeton.sqlite3", "SQLite, /data/jeton.sqlite3"),
        ("sqlite:////srv/a.sqlite3", "sqlite:////srv/a.sqlite3", "SQLite, /srv/a.sqlite3"),
        ("postgres://u:a-secret@h/d", "postgresql+psycopg://u:a-secret@h/d", "PostgreSQL, d at h"),
        ("postgresql://h:5432/d", "postgresql+psycopg://h:5432/d", "PostgreSQL, d at h"),
        ("postgresql+psycopg://[::1]/d", "postgresql+psycopg://[::1]/d", "PostgreSQL, d at [::1]"),
        (
            "postgresql://u:a-secret%40%2F@h/d?sslmode=verify-full",
            "postgresql+psycopg://u:a-secret%40%2F@h/d?sslmode=verify-full",
            "PostgreSQL, d at h",
        ),
        (
            "postgresql:///d?host=%2Frun%2Fpg&password=a-secret",
            "postgresql+psycopg:///d?host=%2Frun%2Fpg&password=a-secret",
            "PostgreSQL, d at /run/pg",
        ),
        ("postgres://", "postgresql+psycopg://", "PostgreSQL, the default database at the default host"),
    ],
)
def test_database_is_a_file_or_a_postgresql_and_its_title_has_no_password(text: str, url: str, title: str) -> None:
    settings = read_settings({"DATABASE_URL": text, "JETON_DATA_DIR": "/data"})

    assert (settings.database_url, settings.database_title) == (url, title)


@pytest.mark.parametrize(
    "text",
    [
        "mysql://u:a-secret@h/d",
        "postgresql+psycopg2://u:a-secret@h/d",
        "postgresql://u:a-secret/@h/d",
        "postgresql://u:a-secret@x@h/d",
        "postgresql://u:a-secret#@h/d",
        "postgresql://u:a-secret@h:99999999/d",
        "postgresql://u:a-secret é@h/d",
        "POSTGRES://u:a-secret@h/d",
        "u:a-secret@h/d",
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite:///file:x?mode=memory&uri=true",
    ],
)
def test_database_that_is_none_is_refused_by_name_and_not_repeated(text: str) -> None:
    with pytest.raises(SettingInvalid, match="DATABASE_URL") as refused:
        read_settings({"DATABASE_URL": text})

    assert "a-secret" not in str(refused.value)


def test_file_of_a_database_needs_a_folder(tmp_path: Path) -> None:
    settings = msgspec.structs.replace(settings_in(tmp_path), own_database_url=f"sqlite:///{tmp_path}/none/a.sqlite3")

    with pytest.raises(SettingInvalid, match="DATABASE_URL"):
        make_folders(settings)


def test_links_are_made_and_expire_unless_said_otherwise() -> None:
    settings = read_settings({})
    other = read_settings({"JETON_LINKS": "off", "JETON_LINKS_FOR_EVER": "on"})

    assert (settings.is_sharing_allowed, settings.is_link_for_ever_allowed) == (True, False)
    assert (settings.links_of_one, settings.links_total) == (200, 20_000)
    assert (other.is_sharing_allowed, other.is_link_for_ever_allowed) == (False, True)


# --- folders ---


def settings_in(folder: Path) -> Settings:
    return read_settings({"JETON_DATA_DIR": str(folder / "data"), "JETON_CACHE_DIR": str(folder / "cache")})


def test_folders_are_made_for_this_user_only_also_where_they_were_open(tmp_path: Path) -> None:
    settings = msgspec.structs.replace(settings_in(tmp_path), run_dir=tmp_path / "run")
    settings.data_dir.mkdir(mode=0o777)
    settings.data_dir.chmod(0o777)

    make_folders(settings)
    make_folders(settings)

    modes = {folder: stat.S_IMODE(folder.stat().st_mode) for folder in (settings.data_dir, settings.run_dir)}
    assert set(modes.values()) == {0o700}
    assert settings.cache_dir.is_dir()


def test_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file stands here")

    with pytest.raises(SettingInvalid, match="JETON_DATA_DIR"):
        make_folders(settings_in(tmp_path))


def test_folder_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: own + 1)

    with pytest.raises(SettingInvalid, match="another user"):
        make_folders(settings_in(tmp_path))


def test_reading_settings_makes_nothing(tmp_path: Path) -> None:
    settings_in(tmp_path)

    assert list(tmp_path.iterdir()) == []
