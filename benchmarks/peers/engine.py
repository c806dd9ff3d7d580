"""Jeton's engine alone: a Runner, driven as the engine process drives it, without pool, web and HTTP."""

import argparse
import logging
import time
from typing import Any

from benchmarks.peers.lines import Lines
from webapp.catalog import CatalogEntry, read_catalog
from webapp.engine.runner import Runner
from webapp.engine.scripted_runner import ScriptedRunner
from webapp.settings import Settings, read_settings
from webapp.wire.generation import Delta, Failed, Finished, GenerationRequest
from webapp.wire.messages import Dispatch

_STEPS_BEFORE_PROFILE = 16


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    lines = Lines()
    settings = read_settings()
    entry = read_catalog(settings.models_file).find(parser.parse_args().model)
    remarks = Remarks()
    logging.getLogger("webapp").setLevel(logging.INFO)
    logging.getLogger("webapp").addHandler(remarks)
    runner = _load(entry, settings)
    driver = Driver(entry, runner)
    hello = {"precision": runner.precision, "device": runner.device, "remarks": remarks.lines, **_sizes(runner)}
    lines.serve(driver.answer, hello=hello)


class Remarks(logging.Handler):
    """What the engine says while it loads: which ways it found, and which it had to leave."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def _load(entry: CatalogEntry, settings: Settings) -> Runner:
    if entry.weights.scripted:
        return ScriptedRunner(entry)
    # Takes seconds; a scripted engine needs none of it.
    from webapp.engine.loader import load_runner

    return load_runner(
        entry,
        cache_dir=settings.cache_dir,
        device=settings.device,
        on_progress=lambda _: None,
        cuda_graphs=settings.cuda_graphs,
    )


def _sizes(runner: Runner) -> dict[str, int]:
    return {"memory_bytes": runner.memory_bytes, "capacity": runner.capacity}


class Driver:
    """Runs some prompts at once, each from the moment the engine has a place for it."""

    def __init__(self, entry: CatalogEntry, runner: Runner) -> None:
        self._entry = entry
        self._runner = runner
        self._lease = 0
        self._token_ids: dict[int, list[int]] = {}

    def answer(self, message: dict[str, Any]) -> dict[str, Any]:
        match message.get("ask"):
            case "sizes":
                return _sizes(self._runner)
            case "logits":
                return self._write_logits(message)
            case "profile":
                return self._profile(message)
        return self._run(message)

    def _run(self, message: dict[str, Any]) -> dict[str, Any]:
        started_at = time.perf_counter()
        waiting = [self._dispatch(message, prompt) for prompt in message["prompts"]]
        streams = {dispatch.lease: _stream(started_at) for dispatch in waiting}
        self._token_ids = {dispatch.lease: list(dispatch.token_ids) for dispatch in waiting}
        while waiting or self._runner.leases:
            while waiting and len(self._runner.leases) < self._runner.capacity:
                self._take(streams, self._runner.start(waiting.pop(0)).event, lease=None)
            for event in self._runner.step():
                self._take(streams, event.event, lease=event.lease)
        if message.get("wants_token_ids"):
            return {
                "texts": [stream["text"] for stream in streams.values()],
                "token_ids": list(self._token_ids.values()),
            }
        return {"streams": list(streams.values())}

    def _write_logits(self, message: dict[str, Any]) -> dict[str, Any]:
        """Those after each token of a text, one decode step for each, into a file."""
        # As numpy, a scripted engine needs none of it.
        import numpy as np

        from webapp.engine.model import Row
        from webapp.engine.slot_runner import SlotRunner

        assert isinstance(self._runner, SlotRunner)
        model = self._runner._model
        steps = [
            model.decode([Row(0, token_id, position)])[0].float().cpu().numpy()
            for position, token_id in enumerate(message["token_ids"])
        ]
        np.save(message["target"], np.stack(steps))
        return {"count": len(steps)}

    def _profile(self, message: dict[str, Any]) -> dict[str, Any]:
        """Where the time of a decode step goes, with all prompts running."""
        from benchmarks.peers.step_profile import profiled

        dispatches = [self._dispatch(message, prompt) for prompt in message["prompts"]]
        for dispatch in dispatches:
            self._runner.start(dispatch)
        # Prompts are read, and what is compiled or captured at its first use is.
        for _ in range(_STEPS_BEFORE_PROFILE + len(dispatches)):
            self._runner.step()
        found = profiled(self._runner.step, device=self._runner.device)
        for dispatch in dispatches:
            self._runner.abort(dispatch.lease)
        return found

    def _dispatch(self, message: dict[str, Any], prompt: dict[str, Any]) -> Dispatch:
        self._lease += 1
        sampling = message["sampling"]
        request = GenerationRequest(
            model=self._entry.name,
            context_window=self._entry.context_window,
            max_tokens=message["max_tokens"],
            seed=prompt["seed"],
            prompt=prompt["text"],
            temperature=sampling["temperature"],
            top_p=sampling["top_p"],
            top_k=sampling["top_k"],
        )
        # What an engine that was lost had made of it.
        token_ids = tuple(prompt.get("token_ids", ()))
        return Dispatch(generation_id=str(self._lease), lease=self._lease, request=request, token_ids=token_ids)

    def _take(self, streams: dict[int, dict[str, Any]], event: object, *, lease: int | None) -> None:
        match event:
            case Delta() if lease is not None:
                streams[lease]["times"].append(time.perf_counter())
                streams[lease]["text"] += event.text
                self._token_ids[lease] += event.token_ids
            case Finished() if lease is not None:
                streams[lease]["prompt_tokens"] = event.usage.prompt_tokens
                streams[lease]["completion_tokens"] = event.usage.completion_tokens
            case Failed():
                raise RuntimeError(f"{event.code}: {event.message}")


def _stream(started_at: float) -> dict[str, Any]:
    return {"started_at": started_at, "times": [], "text": "", "prompt_tokens": 0, "completion_tokens": 0}


if __name__ == "__main__":
    main()
