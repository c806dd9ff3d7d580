"""The wall clock jumps by an hour: nothing times out, and the order is kept."""

import json
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.harness import Server

HOUR = 3600


class Clock:
    """The wall clock of a server's processes."""

    def __init__(self, folder: Path) -> None:
        self._shift = folder / "shift"
        self.set(0)
        self._library = folder / "shifted_clock.so"
        compiler = shutil.which("cc") or shutil.which("gcc")
        assert compiler, "a C compiler is needed to shift the clock"
        source = Path(__file__).with_name("shifted_clock.c")
        subprocess.run([compiler, "-O1", "-fPIC", "-shared", "-o", self._library, source, "-ldl"], check=True)

    @property
    def settings(self) -> dict[str, str]:
        return {"LD_PRELOAD": str(self._library), "SHIFTED_CLOCK": str(self._shift)}

    def set(self, seconds: int) -> None:
        # In place: the processes have the file mapped.
        with self._shift.open("r+b" if self._shift.exists() else "wb") as file:
            file.write(struct.pack("i", seconds))

    def hours_off(self) -> float:
        """What another process sees of it."""
        script = "import time; print(time.time())"
        environ = {"PATH": "/usr/bin:/bin", **self.settings}
        python = shutil.which("python3")
        assert python
        shifted = float(subprocess.run([python, "-c", script], env=environ, capture_output=True, check=True).stdout)
        real = float(subprocess.run([python, "-c", script], capture_output=True, check=True).stdout)
        return (shifted - real) / HOUR


def test_clock_that_jumps_by_an_hour_disturbs_nobody(tmp_path: Path, own_server: Callable[..., Server]) -> None:
    clock = Clock(tmp_path)
    server = own_server(
        JETON_GRACE_SECONDS="20", JETON_QUEUE_SECONDS="60", JETON_GENERATION_SECONDS="60", **clock.settings
    )
    pids = {(process["role"], process["pid"]) for process in server.state()["processes"]}
    reader = server.reader()
    slow = json.dumps({"tokens": 150, "step_seconds": 0.03})
    read, left = (reader.submit(prompt=slow, max_tokens="200") for _ in range(2))

    with reader.attached(read) as stream:
        taken = [next(event for event in stream if event.event_id)]
        for hours in (1, -1):
            clock.set(hours * HOUR)
            assert round(clock.hours_off()) == hours
            taken += [next(event for event in stream if event.event_id) for _ in range(20)]
            assert server.run(prompt="hi", max_tokens=3).status_code == 200
            assert server.readiness().status_code == 200
            assert reader.client.get("/").status_code == 200
        taken += [event for event in stream if event.event_id]

    # The one whose reader stayed away lives through its grace, and can be read to its end.
    kept = reader.read_to_end(left)
    for events in (taken, kept):
        assert [event.event_id for event in events] == [str(number) for number in range(1, 152)]
    # A web process is known from its first request on.
    assert pids <= {(process["role"], process["pid"]) for process in server.state()["processes"]}
    audit = server.audit()
    assert audit.returncode == 0, audit.stdout
