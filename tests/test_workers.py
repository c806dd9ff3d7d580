"""Files are given to workers so that few servers are started."""

from tests.harness import PROJECT_FOLDER
from tests.workers import LONGEST_FIRST, OF_THE_REAL_SERVER


def test_all_files_that_ask_for_the_real_server_are_one_workers():
    files = [
        path for path in (PROJECT_FOLDER / "tests").glob("*/test_*.py") if "real_server" in path.read_text("utf-8")
    ]

    assert {str(path.relative_to(PROJECT_FOLDER)) for path in files} == OF_THE_REAL_SERVER


def test_files_that_begin_first_are_there():
    assert [path for path in LONGEST_FIRST if not (PROJECT_FOLDER / path).exists()] == []
