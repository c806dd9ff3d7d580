"""Servers for the tests that need one: a scripted one for order and faults, a real one for the real model.

And PostgreSQL for those that need it.
"""

from collections.abc import Callable, Iterator
from importlib.util import find_spec

import pytest

from tests.harness import Reader, Server, make_server
from tests.postgresql import INITDB, NO_POSTGRESQL, Postgresql, running_postgresql

pytest_plugins = ["tests.workers"] if find_spec("xdist") else []
NO_CUDA = "no CUDA device on this machine"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A scripted server that all tests share; those that kill processes leave it whole again."""
    shared = make_server(tmp_path_factory.mktemp("scripted"), JETON_GRACE_SECONDS="4", JETON_CLIENT_LIMIT="100")
    shared.start()
    yield shared
    shared.stop()


@pytest.fixture
def reader(server: Server) -> Reader:
    """A browser's session with the scripted server, without a browser."""
    return server.reader()


@pytest.fixture(scope="session")
def real_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with the shipped catalogue and the real starter model; its other variants unload soon."""
    shared = make_server(tmp_path_factory.mktemp("real"), models_file=None, JETON_IDLE_UNLOAD_SECONDS="3")
    shared.start()
    yield shared
    shared.stop()


@pytest.fixture
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    """Starts servers with settings of the test's own, and stops them after it."""
    started: list[Server] = []

    def start(**settings: str) -> Server:
        server = make_server(tmp_path_factory.mktemp("own"), **settings)
        started.append(server)
        server.start()
        return server

    yield start
    for server in started:
        server.stop()


@pytest.fixture(scope="module")
def postgresql() -> Iterator[Postgresql]:
    """A PostgreSQL server; its databases are made by `make_database`."""
    if INITDB is None:
        pytest.skip(NO_POSTGRESQL)
    with running_postgresql() as running:
        yield running


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if INITDB is None:
        terminalreporter.section("POSTGRESQL TESTS LEFT OUT", sep="!", red=True, bold=True)
        terminalreporter.line(f"PostgreSQL as the database was not tested: {NO_POSTGRESQL}", red=True, bold=True)
    # By what was left out: to ask torch takes seconds, and not every run collects those tests.
    skipped = terminalreporter.stats.get("skipped", [])
    if count := sum(NO_CUDA in str(report.longrepr) for report in skipped):
        terminalreporter.section("GPU TESTS LEFT OUT", sep="!", red=True, bold=True)
        terminalreporter.line(f"{count} tests marked gpu were not run: {NO_CUDA}", red=True, bold=True)
