"""A real PostgreSQL in a folder of its own, reached by a Unix socket only: started, stopped, hung."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from tests.harness import wait_until

# Where Debian has them, which puts none of them into the PATH.
FOLDERS = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name), reverse=True)
INITDB = shutil.which("initdb", path=os.pathsep.join([*map(str, FOLDERS), os.environ.get("PATH", "")]))
NO_POSTGRESQL = "no PostgreSQL on this machine (sh tests/install_postgres.sh)"
USER = "jeton"


@dataclass
class Postgresql:
    """A cluster and its server."""

    folder: Path
    process: subprocess.Popen[bytes] | None = None
    numbers: Iterator[int] = field(default_factory=lambda: count(1))

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def make(self) -> None:
        # It refuses to be root's.
        if owner := _owner():
            os.chown(self.folder, owner.pw_uid, owner.pw_gid)
        self._run("initdb", "-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "-D", str(self.data))

    def start(self) -> None:
        options = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.folder),
            "fsync": "off",
            "max_connections": "40",
            "timezone": "Asia/Tokyo",
        }
        self.process = subprocess.Popen(
            [_program("postgres"), "-D", str(self.data), *(f"--{name}={value}" for name, value in options.items())],
            stdout=subprocess.DEVNULL,
            stderr=(self.folder / "log").open("ab"),
            **_as_owner(),
        )
        wait_until(self._answers, 30, lambda: (self.folder / "log").read_text("utf-8"))

    def stop(self) -> None:
        """End it at once: what runs there is cut off."""
        if self.process:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(30)

    @contextmanager
    def hung(self) -> Iterator[None]:
        """Every process of it stopped: connections are taken, and nothing is answered."""
        assert self.process
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text("ascii").split()
        pids = [self.process.pid, *map(int, children)]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        yield
        for pid in reversed(pids):
            os.kill(pid, signal.SIGCONT)

    def make_database(self) -> str:
        """A new, empty one; its URL as people write it."""
        name = f"jeton{next(self.numbers)}"
        self.execute(f"create database {name}")
        return f"postgresql://{USER}@/{name}?host={self.folder}"

    def execute(self, statement: str) -> None:
        url = f"postgresql+psycopg://{USER}@/postgres?host={self.folder}"
        engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(statement))

    def _answers(self) -> bool:
        assert self.process and self.process.poll() is None, (self.folder / "log").read_text("utf-8")
        command = [_program("pg_isready"), "-q", "-h", str(self.folder), "-U", USER]
        return subprocess.run(command, check=False).returncode == 0

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run([_program(program), *arguments], check=True, stdout=subprocess.DEVNULL, **_as_owner())


@contextmanager
def running_postgresql() -> Iterator[Postgresql]:
    """One for as long as it is used. Not in pytest's own folder, where another user may not go."""
    with tempfile.TemporaryDirectory(prefix="jeton-pg-") as folder:
        postgresql = Postgresql(Path(folder))
        postgresql.make()
        postgresql.start()
        yield postgresql
        postgresql.stop()


def _program(name: str) -> str:
    assert INITDB
    return str(Path(INITDB).resolve().with_name(name))


def _owner() -> pwd.struct_passwd | None:
    return pwd.getpwnam("nobody") if os.getuid() == 0 else None


def _as_owner() -> dict[str, object]:
    owner = _owner()
    return {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": [], "cwd": "/"} if owner else {"cwd": "/"}
