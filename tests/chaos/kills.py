"""What is done to a running site: one small function for each fault."""

import random
import signal

from tests.chaos.processes import send
from tests.chaos.site import WHOLE_SECONDS, Site
from tests.harness import wait_until

STOP_SECONDS = 25.0


def nothing(site: Site, chance: random.Random) -> None:
    """The measure of all others."""


def kill_web_process(site: Site, chance: random.Random) -> None:
    send(site.busiest_web_process())


def kill_web_processes(site: Site, chance: random.Random) -> None:
    send(site.pids("web"))


def kill_gunicorn(site: Site, chance: random.Random) -> None:
    """Its master: the web processes are orphans then, and end by themselves."""
    send(site.pids("gunicorn"))


def kill_engine(site: Site, chance: random.Random) -> None:
    send(site.busiest_engine())


def kill_engines(site: Site, chance: random.Random) -> None:
    send(site.pids("engine"))


def stop_engine(site: Site, chance: random.Random) -> None:
    """Leave it hanging; the pool has to notice."""
    send(site.busiest_engine(), signal.SIGSTOP)


def hang_engine(site: Site, chance: random.Random) -> None:
    """Stop an engine until it is given up, then let it go on."""
    pids = site.busiest_engine()
    send(pids, signal.SIGSTOP)
    wait_until(lambda: not set(pids) & set(site.pids("engine")), WHOLE_SECONDS)
    send(pids, signal.SIGCONT)


def outlive_pool(site: Site, chance: random.Random) -> None:
    """Stop an engine, kill the pool, and let the engine go on once a new pool has another one in its place.

    It lives, and has tokens to tell of leases that are not its own any more.
    """
    pids = site.busiest_engine()
    send(pids, signal.SIGSTOP)
    kill_pool(site, chance)
    wait_until(lambda: len(site.pids("engine")) > site.engine_count and site.has_all_engines(), WHOLE_SECONDS)
    send(pids, signal.SIGCONT)


def kill_pool(site: Site, chance: random.Random) -> None:
    send(site.pids("pool"))


def reload(site: Site, chance: random.Random) -> None:
    send([site.supervisor], signal.SIGHUP)


def reload_and_kill(site: Site, chance: random.Random) -> None:
    """A web process that is to end in order is killed while it does."""
    pids = site.busiest_web_process()
    send([site.supervisor], signal.SIGHUP)
    send(pids)


def restart(site: Site, chance: random.Random) -> str:
    """Stop everything in order, and start it again; how long the stop took."""
    seconds = site.stop(STOP_SECONDS)
    site.start_again()
    return f"gone after {seconds:.1f} s"
