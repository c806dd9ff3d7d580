"""Every fault once, under a few short streams: no reader loses anything. How long it takes is for `make soak`."""

from collections.abc import Iterator

import pytest

from tests.chaos.answers import CATALOG
from tests.chaos.site import Site, running_site
from tests.chaos.soak import scripted_line, scripts_for

STREAMS = 24
SECONDS = 2.0
SEED = 1
# `slow` would wait half a minute for the server's own patience; `random` and `gunicorn` are as long.
FAULTS = (
    "torn",
    "web",
    "webs",
    "engine",
    "engines",
    "hang",
    "late",
    "pool",
    "reload",
    "reload-kill",
    "restart",
    "power",
    "poison",
    "memory",
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with running_site(tmp_path_factory.mktemp("soak"), models_file=CATALOG) as site:
        yield site


@pytest.mark.parametrize("fault", FAULTS)
def test_no_reader_loses_anything_to(fault: str, site: Site):
    line = scripted_line(site, scripts_for(STREAMS, seed=SEED), fault, streams=STREAMS, seconds=SECONDS, seed=SEED)

    assert line.verdict.is_unbroken, line.reasons()
    assert not line.complaint


def test_audit_is_clean_after_all_of_them(site: Site):
    audit = site.server.audit()

    assert audit.returncode == 0, audit.stdout
