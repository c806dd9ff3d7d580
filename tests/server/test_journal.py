"""The journal of a real server: what a killed pool, a restart and a full disk leave whole, and what the audit finds."""

import os
import resource
import signal
import time
from collections.abc import Callable

from tests.harness import Reader, Server, script, wait_until
from webapp.pool.journal_records import read_records


def test_killed_pool_loses_nothing(server: Server, reader: Reader):
    url = reader.submit(prompt=script(tokens=150, step_seconds=0.02), max_tokens="200", seed="3")
    whole = server.run(prompt=script(tokens=150), max_tokens=200, seed=3).json()["result"]["response"]
    engine_pid = server.engine("@jeton/scripted")["pid"]
    with server.streaming(prompt=script(tokens=150, step_seconds=0.02), max_tokens=200, seed=3) as api:
        taken = [next(api)]
        server.kill("pool")
        taken += list(api)
    read = reader.read_to_end(url)

    # Both kinds of reader have the very text, and the new pool has taken over the engine that runs.
    assert [event.event_id for event in read] == [str(n) for n in range(1, 152)]
    assert taken[-1].data == "[DONE]"
    assert "".join(event.json["response"] for event in taken[:-1]) == whole
    assert server.engine("@jeton/scripted")["pid"] == engine_pid
    audit = server.audit()
    assert audit.returncode == 0, audit.stdout


def test_restart_of_everything_loses_nothing(own_server: Callable[..., Server]):
    server = own_server(JETON_GRACE_SECONDS="60")
    reader = server.reader()
    url = reader.submit(prompt=script(tokens=300, step_seconds=0.02), max_tokens="400", seed="3")
    with reader.attached(url) as stream:
        taken = [next(event for event in stream if event.event_id)]
        server.stop()
        taken += [event for event in stream if event.event_id]

    server.restart()
    with reader.attached(url, after=int(taken[-1].event_id)) as stream:
        taken += [event for event in stream if event.event_id]

    assert [event.event_id for event in taken] == [str(n) for n in range(1, 302)]
    assert server.audit().returncode == 0


def test_full_disk_refuses_the_new_and_lets_the_running_go_on(own_server: Callable[..., Server]):
    server = own_server()
    reader = server.reader()
    url = reader.submit(prompt=script(tokens=200, step_seconds=0.02), max_tokens="300")
    pool_pid = server.processes("pool")[0]["pid"]
    with reader.attached(url) as stream:
        taken = [next(event for event in stream if event.event_id)]
        # No file of the pool may grow any more.
        resource.prlimit(pool_pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
        wait_until(lambda: server.run(prompt="hi").status_code == 507, 10)
        refused = server.run(prompt="hi")
        page = reader.post(prompt="hi")
        taken += [event for event in stream if event.event_id]

    assert refused.headers["Retry-After"] == "10"
    assert refused.json()["errors"][0]["message"].startswith("AiError:")
    assert page.status_code == 507
    assert [event.event_id for event in taken] == [str(n) for n in range(1, 202)]
    resource.prlimit(pool_pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    wait_until(lambda: server.run(prompt="hi", max_tokens=2).status_code == 200, 10)
    audit = server.audit()
    assert audit.returncode == 0, audit.stdout


def test_audit_finds_what_is_missing(own_server: Callable[..., Server]):
    server = own_server()
    server.run(prompt=script(tokens=5, step_seconds=0.1), max_tokens=10)
    clean = server.audit()
    server.stop()
    (path,) = (server.data_dir / "journal").glob("*.journal")
    content = path.read_bytes()
    records = list(read_records(path))
    # The record of the third token is cut out.
    cut = next(at for at, (record, _) in enumerate(records) if "position=2" in str(record.rows))
    path.write_bytes(content[: records[cut - 1][1]] + content[records[cut][1] :])

    wrong = server.audit()

    assert clean.returncode == 0, clean.stdout
    assert "1 replays compared with the running pool" in clean.stdout
    assert wrong.returncode == 1
    assert "where 2 was next" in wrong.stdout


def test_pool_that_was_stopped_for_a_while_goes_on_with_its_engines(own_server: Callable[..., Server]):
    server = own_server()
    reader = server.reader()
    url = reader.submit(prompt=script(tokens=130, step_seconds=0.05), max_tokens="300")
    (pool,) = server.processes("pool")
    engines = [engine["pid"] for engine in server.processes("engine")]

    os.kill(pool["pid"], signal.SIGSTOP)
    # Longer than any engine or web process may be silent.
    time.sleep(5)
    os.kill(pool["pid"], signal.SIGCONT)

    assert [event.event_id for event in reader.read_to_end(url)] == [str(n) for n in range(1, 132)]
    assert [engine["pid"] for engine in server.processes("engine")] == engines
