"""Which worker of pytest-xdist runs which files, and in which order (see the Makefile)."""

import zlib

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

# Each worker that runs one of these starts the real server, which takes long: one worker runs them all.
OF_THE_REAL_SERVER = frozenset(
    {
        "tests/browser/test_real_model.py",
        "tests/clients/test_real_model.py",
        "tests/server/test_embeddings.py",
        "tests/server/test_openai_real_model.py",
        "tests/server/test_real_model.py",
        "tests/server/test_structured_output.py",
        "tests/server/test_token_counts.py",
    }
)
# What takes longest begins first, so that no worker still has half of it before it when the others are done.
LONGEST_FIRST = (
    "tests/server/test_real_model.py",
    "tests/engine/test_slot_runner.py",
    "tests/server/test_start.py",
    "tests/browser/",
    "tests/chaos/test_soak.py",
    "tests/server/test_journal.py",
    "tests/server/test_residency.py",
    "tests/server/test_remote_engines.py",
    "tests/engine/native/test_model.py",
    "tests/benchmarks/test_gpu.py",
    "tests/engine/test_precisions.py",
    "tests/server/test_status.py",
    "tests/engine/test_adapters.py",
    "tests/engine/test_loader.py",
    "tests/security/test_openapi.py",
    "tests/clients/",
    "tests/server/",
)
# A worker that leaves them closes its browser, and opens another when it comes back. More than there are workers, so
# that none has much more to do than the others.
_BROWSERS = 6


class FilesTogether(LoadFileScheduling):
    """Each file is one worker's, and so are all those that would start the same again."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        if file in OF_THE_REAL_SERVER:
            return "the real server"
        if file.startswith("tests/browser/"):
            return f"browser {zlib.crc32(file.encode()) % _BROWSERS}"
        return file


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    turns = (at for at, path in enumerate(LONGEST_FIRST) if item.nodeid.startswith(path))
    return next(turns, len(LONGEST_FIRST))


# Not there where the plugin is switched off.
@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadFileScheduling | None:
    return FilesTogether(config, log) if config.getvalue("dist") == "loadfile" else None
