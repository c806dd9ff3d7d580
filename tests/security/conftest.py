"""A server as it stands behind a proxy: strict limits, every log line kept."""

from collections.abc import Iterator

import pytest

from tests.harness import Server, make_server
from tests.security.callers import OPERATOR_TOKEN


# Not for the package: what runs between two of its files would have another started for the second.
@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One for all tests here. Each request names its own address, as the declared proxy would."""
    server = make_server(
        tmp_path_factory.mktemp("guarded"),
        JETON_PROXIES="1",
        JETON_RATE_LIMIT="20",
        JETON_BODY_SECONDS="2",
        JETON_OPERATOR_TOKEN=OPERATOR_TOKEN,
        JETON_LOG_LEVEL="debug",
    )
    server.start()
    yield server
    server.stop()
