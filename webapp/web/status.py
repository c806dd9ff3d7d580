"""`/healthz`, `/readyz` and `/pool.json`: whether this web process lives, whether tokens come, who runs where."""

import os
import time

import gevent
import msgspec
from flask import Blueprint, Response, request

from webapp.catalog import Catalog
from webapp.devices import CPU
from webapp.web.auth import ApiTokens
from webapp.web.callers import is_local
from webapp.web.errors import PoolUnavailable
from webapp.web.pool_client import PoolClient
from webapp.web.replies import json_reply
from webapp.wire.messages import EngineState, PoolState

# A token this old, in seconds, shows that an engine works; and how long a probe may take to bring one.
FRESH_TOKEN_SECONDS = 10.0
PROBE_SECONDS = 5.0
# An engine's id begins with the pid of the pool that started it.
_HAS_PID = frozenset({"pid", "engine_id"})
# For strangers, in place of a library's words, which may name folders of this machine.
_IN_THE_LOG = "Jeton's log says why"


def blueprint(pool: PoolClient, tokens: ApiTokens, catalog: Catalog) -> Blueprint:
    """The routes for operators and load balancers."""
    routes = Blueprint("status", __name__)
    needed = {entry.name for entry in catalog.at_start}

    def is_trusted() -> bool:
        """The caller is on this machine, or an operator."""
        return is_local(request) or tokens.is_operator(request)

    @routes.get("/healthz")
    def healthz() -> Response:
        """This web process answers; it says nothing of the pool."""
        return _json({"status": "ok"})

    @routes.get("/readyz")
    def readyz() -> Response:
        """200 once every engine that starts with Jeton has lately made a real token; 503 with the reasons until then.

        Nothing depends on models that load at their first use.
        """
        try:
            problems = catalog.start_obstacles + _problems_after_probe(pool, needed, is_trusted=is_trusted())
        except PoolUnavailable as error:
            problems = [error.message]
        return _json({"status": "not ready", "reasons": problems}, 503) if problems else _json({"status": "ready"})

    @routes.get("/pool.json")
    def pool_json() -> Response:
        """Every process with its role and state; pids and errors only for callers on this machine and operators."""
        try:
            state = pool.state()
        except PoolUnavailable as error:
            return _json({"error": {"code": error.code, "message": error.message}}, 503)
        return _json(_describe(state, is_trusted=is_trusted()))

    return routes


def _problems_after_probe(pool: PoolClient, needed: set[str], *, is_trusted: bool) -> list[str]:
    deadline = time.monotonic() + PROBE_SECONDS
    state = pool.state(has_to_probe=True)
    while (problems := _problems(state, needed, is_trusted=is_trusted)) and time.monotonic() < deadline:
        if not any(engine.model in needed and engine.state in ("idle", "busy") for engine in state.engines):
            break
        gevent.sleep(0.05)
        state = pool.state(has_to_probe=True)
    return problems


def _problems(state: PoolState, needed: set[str], *, is_trusted: bool) -> list[str]:
    relevant = [engine for engine in state.engines if engine.model in needed]
    missing = needed - {engine.model for engine in relevant}
    return [f"{model}: no engine" for model in sorted(missing)] + [
        f"{engine.model}: {_problem(engine, is_trusted=is_trusted)}"
        for engine in relevant
        if not _has_fresh_token(engine)
    ]


def _has_fresh_token(engine: EngineState) -> bool:
    return engine.seconds_since_token is not None and engine.seconds_since_token < FRESH_TOKEN_SECONDS


def _problem(engine: EngineState, *, is_trusted: bool) -> str:
    if engine.state in ("idle", "busy"):
        return "no token within a few seconds"
    loaded = f", {engine.load_fraction:.0%} loaded" if engine.state == "loading" else ""
    reason = engine.error if is_trusted else _IN_THE_LOG
    return engine.state + loaded + (f": {reason}" if engine.error else "")


def _describe(state: PoolState, *, is_trusted: bool) -> dict[str, object]:
    processes = _processes(state)
    own = next((memory for memory in state.memories if memory.device == CPU), None)
    if not is_trusted:
        processes = [_for_strangers(process) for process in processes]
    return {
        "epoch": state.epoch,
        "answered_by": os.getpid() if is_trusted else None,
        "running": state.running,
        "waiting": state.waiting,
        "memory_budget": own.budget_bytes if own else None,
        "memory_taken": own.taken_bytes if own else 0,
        "devices": [msgspec.structs.asdict(memory) for memory in state.memories if memory is not own],
        "processes": processes,
    }


def _for_strangers(process: dict[str, object]) -> dict[str, object]:
    public = {name: value for name, value in process.items() if name not in _HAS_PID}
    return public | {"error": _IN_THE_LOG} if process.get("error") else public


def _processes(state: PoolState) -> list[dict[str, object]]:
    gunicorns = sorted({web.parent_pid for web in state.web_processes})
    alone = [("supervisor", state.parent_pid), ("pool", state.pid), *(("gunicorn", pid) for pid in gunicorns)]
    alone += [("web", web.pid) for web in state.web_processes]
    # One that is cold has no process.
    engines = [
        {"role": "engine", **msgspec.structs.asdict(engine), "pid": engine.pid or None} for engine in state.engines
    ]
    others: list[dict[str, object]] = [{"role": role, "pid": pid, "state": "running"} for role, pid in alone]
    return others + engines


def _json(payload: object, status: int = 200) -> Response:
    response = json_reply(payload, status)
    response.headers["Cache-Control"] = "no-store"
    return response
