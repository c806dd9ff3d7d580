"""Settings from the environment, read once and typed. A wrong value stops the start with a sentence that names it.

Knows names, types and bounds; docs/settings.md says what each is for.
"""

import hashlib
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Literal
from urllib.parse import unquote

from msgspec import Struct

from webapp.devices import Device, parse_devices
from webapp.memory import machine_memory, parse_memory

# Decode steps on a GPU: compiled and captured, captured as they are, or run kernel by kernel.
CudaGraphs = Literal["compiled", "plain", "off"]

PROJECT_FOLDER = Path(__file__).resolve().parent.parent
# Linux refuses a Unix socket path longer than this (sun_path, without its final NUL).
LONGEST_SOCKET_PATH = 107
# What engines may take of the machine's memory unless a setting says otherwise: the rest is for the system, its
# cache of files, and the web processes.
SHARE_OF_MEMORY = 0.75
SQLITE = "sqlite:///"
# What else a password has in it is percent-encoded: otherwise nobody knows where it ends.
POSTGRESQL_URL = r"""
    (?P<scheme>postgres|postgresql|postgresql\+psycopg)://
    (?:[^:@/?\#]*(?::[^:@/?\#]*)?@)?
    (?P<host>\[[0-9A-Fa-f:.]+\]|[^@:/?\#\[\],]*)(?::[0-9]{1,5})?
    (?:/(?P<database>[^@:/?\#]*))?
    (?:\?[^\#]*)?
"""


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
    # CUDA devices as they are stated by hand; None is to ask the driver.
    stated_devices: tuple[Device, ...] | None = None
    # The part of each CUDA device's memory that all engines on it may take.
    device_share: float = 0.9
    cuda_graphs: CudaGraphs = "compiled"
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
    # Where another one than the file in the data folder is meant; may hold a password.
    own_database_url: str | None = None
    is_sharing_allowed: bool = True
    is_link_for_ever_allowed: bool = False
    # Most shared links of one browser, and of all together.
    links_of_one: int = 200
    links_total: int = 20_000
    # Which sites may show a shared link in a frame, as a content security policy names them.
    embed_ancestors: str = "*"

    @property
    def database_url(self) -> str:
        """As SQLAlchemy takes it."""
        return self.own_database_url or f"sqlite:///{self.data_dir / 'jeton.sqlite3'}"

    @property
    def database_title(self) -> str:
        """Which database it is, for people; never its password."""
        if found := re.fullmatch(POSTGRESQL_URL, self.database_url, re.VERBOSE):
            sockets = re.search(r"[?&]host=([^&]*)", self.database_url)
            host = found["host"] or (unquote(sockets[1]) if sockets else "") or "the default host"
            return f"PostgreSQL, {unquote(found['database'] or '') or 'the default database'} at {host}"
        return f"SQLite, {self.database_url.removeprefix(SQLITE)}"

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
        stated_devices=_stated_devices(environ, "JETON_CUDA_DEVICES"),
        device_share=_share(environ, "JETON_GPU_MEMORY_SHARE", 0.9),
        cuda_graphs=_cuda_graphs(environ, "JETON_CUDA_GRAPHS"),
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
        own_database_url=_database_url(environ, "DATABASE_URL"),
        is_sharing_allowed=_switch(environ, "JETON_LINKS", is_on_by_default=True),
        is_link_for_ever_allowed=_switch(environ, "JETON_LINKS_FOR_EVER", is_on_by_default=False),
        links_of_one=_integer(environ, "JETON_LINKS_OF_ONE", 200, least=1, most=100_000),
        links_total=_integer(environ, "JETON_LINKS_TOTAL", 20_000, least=1, most=10_000_000),
        embed_ancestors=_ancestors(environ, "JETON_EMBED_ANCESTORS"),
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
    if settings.database_url.startswith(SQLITE):
        file = Path(settings.database_url.removeprefix(SQLITE))
        if not file.parent.is_dir():
            raise SettingInvalid("DATABASE_URL", f"names a file in a folder that is not there: {file.parent}")


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


def _database_url(environ: Mapping[str, str], name: str) -> str | None:
    text = environ.get(name)
    if not text:
        return None
    # No sentence repeats it: it may hold a password.
    if not re.fullmatch(r"[!-~]+", text):
        raise SettingInvalid(name, "must have no space, and nothing outside ASCII that is not percent-encoded")
    if text.startswith(SQLITE):
        if text.removeprefix(SQLITE) in ("", ":memory:") or "?" in text:
            raise SettingInvalid(name, "must name a file after sqlite:/// and nothing else: several processes open it")
        return text
    found = re.fullmatch(POSTGRESQL_URL, text, re.VERBOSE)
    if found is None:
        raise SettingInvalid(
            name,
            "must be such as postgresql://user:password@host:5432/database, with what is special in the password "
            "percent-encoded, or such as sqlite:////var/lib/jeton/jeton.sqlite3",
        )
    return f"postgresql+psycopg{text.removeprefix(found['scheme'])}"


def _ancestors(environ: Mapping[str, str], name: str) -> str:
    text = environ.get(name) or "*"
    site = r"https?://(\*\.)?[A-Za-z0-9.-]+(:[0-9]{1,5})?"
    if not re.fullmatch(rf"\*|none|{site}( {site})*", text):
        raise SettingInvalid(name, f"must be *, none, or sites such as https://example.com, not {text!r}")
    return "'none'" if text == "none" else text


def _cuda_graphs(environ: Mapping[str, str], name: str) -> CudaGraphs:
    text = environ.get(name) or "compiled"
    match text:
        case "compiled" | "plain" | "off":
            return text
        case _:
            raise SettingInvalid(name, f"must be compiled, plain or off, not {text!r}")


def _stated_devices(environ: Mapping[str, str], name: str) -> tuple[Device, ...] | None:
    text = environ.get(name)
    if not text:
        return None
    try:
        return parse_devices(text)
    except ValueError as error:
        raise SettingInvalid(name, str(error)) from None


def _share(environ: Mapping[str, str], name: str, default: float) -> float:
    text = environ.get(name) or str(default)
    if not re.fullmatch(r"0?\.[0-9]{1,3}|1(\.0{1,3})?", text, re.ASCII) or not float(text):
        raise SettingInvalid(name, f"must be a part such as 0.9, above 0 and at most 1, not {text!r}")
    return float(text)


def _device(environ: Mapping[str, str], name: str) -> str:
    text = environ.get(name) or "auto"
    if not re.fullmatch(r"auto|cpu|cuda(:[0-9]{1,2})?", text):
        raise SettingInvalid(name, f"must be auto, cpu, cuda or cuda:N, not {text!r}")
    return text
