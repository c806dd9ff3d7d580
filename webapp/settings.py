"""Settings from the environment, read once and typed. A wrong value stops the start with a sentence that names it.

Knows names, types and bounds; docs/settings.md says what each is for.
"""

import hashlib
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from webapp.memory import machine_memory, parse_memory

PROJECT_FOLDER = Path(__file__).resolve().parent.parent
# Linux refuses a Unix socket path longer than this (sun_path, without its final NUL).
LONGEST_SOCKET_PATH = 107
# What engines may take of the machine's memory unless a setting says otherwise: the rest is for the system, its
# cache of files, and the web processes.
SHARE_OF_MEMORY = 0.75


class SettingInvalid(Exception):
    """A setting has a value that cannot be used."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"The setting {name} {reason}.")


class Settings(Struct, frozen=True, kw_only=True):
    """Every setting, with its default. Durations in seconds."""

    host: str = "127.0.0.1"
    port: int = 8000
    data_dir: Path
    cache_dir: Path
    run_dir: Path
    models_file: Path
    web_processes: int = 2
    device: str = "auto"
    is_stand_in_allowed: bool = True
    api_token: str | None = None
    operator_token: str | None = None
    queue_length: int = 64
    client_limit: int = 32
    # Generations a minute for each address or API token; 0 is no limit.
    rate_limit: int = 300
    # How many proxies stand before the web processes.
    proxies: int = 0
    body_seconds: float = 30.0
    grace_seconds: float = 15.0
    # Where engines on other machines may join; None is nowhere.
    join_address: str | None = None
    queue_seconds: float = 600.0
    generation_seconds: float = 3600.0
    # In bytes; None is no bound.
    memory_budget: int | None = None
    idle_unload_seconds: float = 600.0
    log_level: str = "info"
    log_format: str = "text"

    @property
    def database_url(self) -> str:
        return f"sqlite:///{self.data_dir / 'jeton.sqlite3'}"

    @property
    def keys_dir(self) -> Path:
        """The pool's own keys, and the public ones of engines on other machines."""
        return self.data_dir / "keys"

    @property
    def journal_dir(self) -> Path:
        """Where the pool keeps what it has accepted and said."""
        return self.data_dir / "journal"

    @property
    def web_address(self) -> str:
        """Where web processes reach the pool."""
        return f"ipc://{self.run_dir / 'web.sock'}"

    @property
    def engine_address(self) -> str:
        """Where engines reach the pool."""
        return f"ipc://{self.run_dir / 'engine.sock'}"


def read_settings(environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings in `environ`. Raises SettingInvalid. Creates no folder."""
    data_dir = _path(environ, "JETON_DATA_DIR", PROJECT_FOLDER / ".jeton")
    cache_home = Path(environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return Settings(
        host=environ.get("HOST") or "127.0.0.1",
        port=_integer(environ, "PORT", 8000, least=1, most=65535),
        data_dir=data_dir,
        cache_dir=_path(environ, "JETON_CACHE_DIR", cache_home / "jeton"),
        run_dir=_run_dir(data_dir),
        models_file=_path(environ, "JETON_MODELS_FILE", PROJECT_FOLDER / "models.toml"),
        web_processes=_integer(environ, "JETON_WEB_PROCESSES", 2, least=1, most=64),
        device=_device(environ, "JETON_DEVICE"),
        is_stand_in_allowed=_switch(environ, "STAND_IN", is_on_by_default=True),
        api_token=_secret(environ, "JETON_API_TOKEN"),
        operator_token=_secret(environ, "JETON_OPERATOR_TOKEN"),
        queue_length=_integer(environ, "JETON_QUEUE_LENGTH", 64, least=0, most=100_000),
        client_limit=_integer(environ, "JETON_CLIENT_LIMIT", 32, least=1, most=100_000),
        rate_limit=_integer(environ, "JETON_RATE_LIMIT", 300, least=0, most=1_000_000),
        proxies=_integer(environ, "JETON_PROXIES", 0, least=0, most=10),
        body_seconds=_integer(environ, "JETON_BODY_SECONDS", 30, least=1, most=3600),
        grace_seconds=_integer(environ, "JETON_GRACE_SECONDS", 15, least=1, most=3600),
        join_address=_tcp_address(environ, "JETON_JOIN_ADDRESS"),
        queue_seconds=_integer(environ, "JETON_QUEUE_SECONDS", 600, least=1, most=86_400),
        generation_seconds=_integer(environ, "JETON_GENERATION_SECONDS", 3600, least=1, most=86_400),
        memory_budget=_memory(environ, "JETON_MEMORY_BUDGET"),
        idle_unload_seconds=_integer(environ, "JETON_IDLE_UNLOAD_SECONDS", 600, least=0, most=86_400),
        log_level=_choice(environ, "JETON_LOG_LEVEL", "info", ("debug", "info", "warning", "error")),
        log_format=_choice(environ, "JETON_LOG_FORMAT", "text", ("text", "json")),
    )


def make_folders(settings: Settings) -> None:
    """Create the data, socket and cache folders; the first two are for this user only. Raises SettingInvalid."""
    for name, folder, mode in (
        ("JETON_DATA_DIR", settings.data_dir, 0o700),
        ("JETON_DATA_DIR", settings.run_dir, 0o700),
        ("JETON_CACHE_DIR", settings.cache_dir, 0o755),
    ):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if folder.stat().st_uid != os.getuid():
                raise SettingInvalid(name, f"names a folder of another user: {folder}")
            if mode == 0o700:
                folder.chmod(mode)
        except OSError as error:
            raise SettingInvalid(name, f"names a folder that cannot be made: {folder}: {error.strerror}") from error


def _run_dir(data_dir: Path) -> Path:
    run_dir = data_dir / "run"
    if len(bytes(run_dir / "engine.sock")) <= LONGEST_SOCKET_PATH:
        return run_dir
    # One short folder for each data folder; make_folders refuses it where it belongs to somebody else.
    digest = hashlib.sha256(bytes(data_dir)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"jeton-{os.getuid()}-{digest}"


def _path(environ: Mapping[str, str], name: str, default: Path) -> Path:
    return Path(environ.get(name) or default).expanduser().absolute()


def _integer(environ: Mapping[str, str], name: str, default: int, *, least: int, most: int) -> int:
    text = environ.get(name) or str(default)
    if not re.fullmatch(r"-?[0-9]{1,12}", text) or not least <= int(text) <= most:
        raise SettingInvalid(name, f"must be a whole number from {least} to {most}, not {text!r}")
    return int(text)


def _memory(environ: Mapping[str, str], name: str) -> int:
    text = environ.get(name)
    if not text:
        return round(machine_memory() * SHARE_OF_MEMORY)
    try:
        return parse_memory(text)
    except ValueError as error:
        raise SettingInvalid(name, str(error)) from None


def _choice(environ: Mapping[str, str], name: str, default: str, choices: tuple[str, ...]) -> str:
    text = (environ.get(name) or default).lower()
    if text not in choices:
        raise SettingInvalid(name, f"must be one of {', '.join(choices)}, not {text!r}")
    return text


def _switch(environ: Mapping[str, str], name: str, *, is_on_by_default: bool) -> bool:
    return _choice(environ, name, "on" if is_on_by_default else "off", ("on", "off")) == "on"


def _secret(environ: Mapping[str, str], name: str) -> str | None:
    text = environ.get(name)
    if not text:
        return None
    if len(text) < 8 or not re.fullmatch(r"[!-~]+", text):
        raise SettingInvalid(name, "must have at least 8 characters, none of them a space or outside ASCII")
    return text


def _tcp_address(environ: Mapping[str, str], name: str) -> str | None:
    text = environ.get(name)
    if text and not re.fullmatch(r"tcp://[^\s/]+:[0-9]{1,5}", text):
        raise SettingInvalid(name, f"must be an address such as tcp://10.0.0.1:9470, not {text!r}")
    return text or None


def _device(environ: Mapping[str, str], name: str) -> str:
    text = environ.get(name) or "auto"
    if not re.fullmatch(r"auto|cpu|cuda(:[0-9]{1,2})?", text):
        raise SettingInvalid(name, f"must be auto, cpu, cuda or cuda:N, not {text!r}")
    return text
