"""`python -m tests.chaos.hosts`: engines on two other hosts, which are cut off and killed under streams.

The hosts are network namespaces of this machine, each with a cable (a veth pair) to it, so it takes root and `ip`.
Exit status 1 where anything was lost, doubled or wrong, or where a host without a known key was admitted.
"""

import argparse
import contextlib
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.answers import CATALOG
from tests.chaos.report import Line
from tests.chaos.site import Site, running_site
from tests.chaos.soak import PATIENCE_SECONDS, scripts_for
from tests.chaos.wave import Wave
from tests.harness import PROJECT_FOLDER, free_port, wait_until
from webapp.engine_keys import create_engine_keys

MODEL = "@jeton/scripted"
JOIN_SECONDS = 30.0
# As long as the cable is out: longer than the pool waits for a silent engine.
CUT_SECONDS = 4.0
# How long a host that must not get in is given to do so.
REFUSED_SECONDS = 5.0


@dataclass
class Host:
    """Another machine: a network of its own, a cable to this one, and the engines on it."""

    number: int
    folder: Path
    engines: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"jeton-host-{self.number}"

    @property
    def cable(self) -> str:
        """This machine's end of it."""
        return f"jeton{self.number}"

    @property
    def gateway(self) -> str:
        """This machine's address, as the host sees it."""
        return f"10.77.{self.number}.1"

    def build(self) -> None:
        _ip("netns", "add", self.name)
        _ip("link", "add", self.cable, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        _ip("addr", "add", f"{self.gateway}/30", "dev", self.cable)
        _ip("link", "set", self.cable, "up")
        _ip("-n", self.name, "addr", "add", f"10.77.{self.number}.2/30", "dev", "eth0")
        _ip("-n", self.name, "link", "set", "eth0", "up")

    def join(self, site: Site, port: int, keys: Path) -> None:
        """Start an engine on it."""
        address = f"tcp://{self.gateway}:{port}"
        environ = site.server.environ | {
            "JETON_MODELS_FILE": str(CATALOG),
            "JETON_DATA_DIR": str(self.folder / self.name),
        }
        command = [sys.executable, "-m", "webapp", "join", "--model", MODEL, "--pool", address, "--keys", str(keys)]
        in_host = ["ip", "netns", "exec", self.name, *command]
        self.engines.append(subprocess.Popen(in_host, cwd=PROJECT_FOLDER, env=environ, stderr=subprocess.DEVNULL))

    def pull_cable(self) -> None:
        _ip("link", "set", self.cable, "down")

    def plug_cable(self) -> None:
        _ip("link", "set", self.cable, "up")

    def kill(self) -> None:
        """The whole host at once: nobody on it says a last word."""
        self.pull_cable()
        for engine in self.engines:
            engine.kill()
            engine.wait()
        self.engines.clear()

    def remove(self) -> None:
        self.kill()
        _ip("netns", "del", self.name)


@contextmanager
def _hosts(folder: Path) -> Iterator[tuple[Host, Host]]:
    hosts = Host(1, folder), Host(2, folder)
    with contextlib.ExitStack() as stack:
        for host in hosts:
            host.build()
            stack.callback(host.remove)
        yield hosts


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.hosts", description=__doc__)
    parser.add_argument("--streams", type=int, default=40)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="jeton-hosts-") as name:
        folder, port = Path(name), free_port()
        catalog = folder / "models.toml"
        catalog.write_text(_elsewhere(CATALOG.read_text("utf-8")), "utf-8")
        data_dir = folder / "pool"
        data_dir.mkdir(mode=0o700)
        create_engine_keys(data_dir / "keys", "gpu", target=folder / "keys")
        # A pair of another pool's, and this pool's public key, which is no secret.
        create_engine_keys(folder / "other-keys", "gpu", target=folder / "wrong")
        (folder / "wrong" / "pool.key").write_bytes((folder / "keys" / "pool.key").read_bytes())
        address = f"tcp://0.0.0.0:{port}"
        with (
            _hosts(folder) as hosts,
            running_site(data_dir, models_file=catalog, JETON_JOIN_ADDRESS=address) as site,
        ):
            print(f"seed {options.seed}", flush=True)
            return _run(site, hosts, port, folder, streams=options.streams, seed=options.seed)


def _run(site: Site, hosts: tuple[Host, Host], port: int, folder: Path, *, streams: int, seed: int) -> int:
    first, second = hosts
    first.join(site, port, folder / "wrong")
    time.sleep(REFUSED_SECONDS)
    has_got_in = _ready(site) > 0
    print(f"a host whose key the pool does not know was {'ADMITTED' if has_got_in else 'not admitted'}", flush=True)
    for engine in first.engines:
        engine.kill()

    for host in hosts:
        host.join(site, port, folder / "keys")
    _wait_for(site, 2)
    scripts = scripts_for(streams, seed=seed)
    has_failed = has_got_in
    for name in ("cable", "host", "cables"):
        wave = Wave(site, scripts.many(streams, seconds=12.0))
        wave.wait_until_flowing()
        if name == "host":
            second.kill()
        else:
            cut = hosts if name == "cables" else hosts[:1]
            for host in cut:
                host.pull_cable()
            time.sleep(CUT_SECONDS)
            for host in cut:
                host.plug_cable()
        wave.wait_until_closed(PATIENCE_SECONDS)
        line = Line(name, seed, wave.verdict())
        print(line, *line.reasons(), sep="\n  ", flush=True)
        has_failed = has_failed or not line.is_ok
        if name == "host":
            second.plug_cable()
            second.join(site, port, folder / "keys")
        _wait_for(site, 2)
    audit = site.server.audit()
    print(audit.stdout.strip(), flush=True)
    return 1 if has_failed or audit.returncode else 0


def _ready(site: Site) -> int:
    processes = (site.state() or {"processes": []})["processes"]
    return sum(process["role"] == "engine" and process["state"] in ("idle", "busy") for process in processes)


def _wait_for(site: Site, count: int) -> None:
    wait_until(lambda: _ready(site) == count, JOIN_SECONDS, lambda: site.server.output[-3000:])


def _elsewhere(catalog: str) -> str:
    """The catalogue of a machine that has no engines of its own, and is ready without any."""
    return catalog.replace("scripted = true", "remote = true").replace("is_loaded_at_start = true", "")


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


if __name__ == "__main__":
    sys.exit(main())
