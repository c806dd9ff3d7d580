"""The playground's event stream: one frame for each event. A plain client sees `response` and `[DONE]` only.

The text and the end have ids, 1, 2, 3, … without a gap; the named events `status`, `usage`, `error` and
`gone` have none, so that what a client resumes with is always the id of text it has seen.
"""

from collections.abc import Callable

from webapp.web.sse import DONE, Item, data_frame
from webapp.wire.generation import Delta, Failed, Finished, GenerationEvent, Loading, Queued, Started, Timings
from webapp.wire.messages import Gone


def frames(item: Item, say_error: Callable[[str, str], str] = lambda code, message: message) -> bytes:
    """The frames of one event. `say_error` tells an error's code and message in the reader's language."""
    if isinstance(item, Gone):
        return data_frame({}, event="gone")
    match item.event:
        case Delta(text=text):
            return data_frame({"response": text}, event_id=item.event_id)
        case Finished() as finished:
            return data_frame(usage(finished), event="usage") + _done(item.event_id)
        case Failed(code=code, message=message):
            return data_frame({"code": code, "message": say_error(code, message)}, event="error") + _done(item.event_id)
        case status:
            return data_frame(_status(status), event="status")


def usage(finished: Finished) -> dict[str, object]:
    """Counts and durations of a finished generation, in tokens and seconds."""
    tokens = finished.usage
    timings = finished.timings or Timings(0.0, 0.0, 0.0)
    return {
        "finish_reason": finished.finish_reason,
        "prompt_tokens": tokens.prompt_tokens,
        "completion_tokens": tokens.completion_tokens,
        "total_tokens": tokens.total_tokens,
        "time_to_first_token": round(timings.time_to_first_token, 4),
        "tokens_per_second": round(timings.tokens_per_second(tokens.completion_tokens), 2),
        "seconds": round(timings.time_to_first_token + timings.decode_time, 4),
    }


def _done(event_id: int) -> bytes:
    return b"id: %d\n%b" % (event_id, DONE)


def _status(event: GenerationEvent) -> dict[str, object]:
    match event:
        case Queued(place=place):
            return {"phase": "queued", "place": place}
        case Loading(fraction=fraction):
            return {"phase": "loading", "percent": round(100 * fraction)}
        case Started(prompt_tokens=prompt_tokens, device=device, precision=precision):
            return {"phase": "reading", "prompt_tokens": prompt_tokens, "device": device, "precision": precision}
        case _:
            raise AssertionError(f"{event} is no status")
