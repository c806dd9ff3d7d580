"""From typed fields to a running generation: what every dialect and the playground share. Knows no URL and no shape."""

import uuid

from webapp.catalog import Catalog, CatalogEntry
from webapp.web.errors import GenerationAborted, RequestError, error_from_wire
from webapp.web.pool_client import PoolClient, Subscription
from webapp.web.request_fields import GenerationFields, find_model, repeat_request, to_request
from webapp.web.sse import KEEP_ALIVE_SECONDS, Item, watch_reader
from webapp.wire.generation import (
    ChosenTokenLogprob,
    Delta,
    Failed,
    Finished,
    GenerationRequest,
    Loading,
    Queued,
    Started,
    ToolCall,
)
from webapp.wire.messages import Gone, Published, Submit


def failure_of(item: Item) -> RequestError | None:
    """The error that an item means to a reader who waits for the whole text; None where it means none."""
    if isinstance(item, Gone):
        return error_from_wire("GenerationLost", "The pool has lost this generation.")
    match item.event:
        case Failed(code=code, message=message):
            return error_from_wire(code, message)
        case Finished(finish_reason="abort"):
            # Its reader is still there, so it is not who stopped it: part of a text is not an answer.
            return GenerationAborted("The generation was stopped before its end.")
        case _:
            return None


def tool_call_id(generation_id: str, index: int) -> str:
    """What clients know a generation's call by; `index` counts its calls from 0."""
    return f"call_{generation_id[:12]}_{index}"


class WholeAnswer:
    """The fold of a generation's events: its text, the calls it asks for, and how it ended."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self.tool_calls: list[ToolCall] = []
        self.logprobs: list[ChosenTokenLogprob] = []
        self.started: Started | None = None
        self.finished: Finished | None = None
        self.error: RequestError | None = None

    @property
    def text(self) -> str:
        return "".join(self._texts)

    def add(self, item: Item) -> None:
        """Take the next event."""
        self.error = failure_of(item) or self.error
        match item:
            case Published(event=Delta() as delta):
                self._texts.append(delta.text)
                self.tool_calls += delta.tool_calls
                self.logprobs += delta.logprobs
            case Published(event=Started() as started):
                self.started = started
            case Published(event=Finished() as finished) if not self.error:
                self.finished = finished
            case _:
                pass


class Generations:
    """Starts generations for the views."""

    def __init__(self, catalog: Catalog, pool: PoolClient) -> None:
        self._catalog = catalog
        self._pool = pool

    def prepare(
        self,
        fields: GenerationFields,
        model: str,
        *,
        owner: str,
        client: str,
        grace_seconds: float = 0.0,
        logprobs: int | None = None,
    ) -> tuple[Submit, CatalogEntry, CatalogEntry]:
        """What to submit, the entry that was asked for and the one that answers. Raises RequestError.

        Without a grace, who submits is its reader from the first event, and its end with them.
        """
        entry, serving = find_model(self._catalog, model)
        submit = self._submit(
            to_request(fields, entry, serving, logprobs=logprobs),
            owner=owner,
            client=client,
            grace_seconds=grace_seconds,
            reject_if_busy=bool(fields.options and fields.options.reject_if_busy),
        )
        return submit, entry, serving

    def repeat(
        self, request: GenerationRequest, model: str, *, owner: str, client: str, grace_seconds: float = 0.0
    ) -> tuple[Submit, CatalogEntry, CatalogEntry]:
        """As `prepare`, for what was asked of this model before, seed included. Raises RequestError."""
        entry, serving = find_model(self._catalog, model)
        again = repeat_request(request, entry, serving)
        return self._submit(again, owner=owner, client=client, grace_seconds=grace_seconds), entry, serving

    def _submit(
        self,
        request: GenerationRequest,
        *,
        owner: str,
        client: str,
        grace_seconds: float,
        reject_if_busy: bool = False,
    ) -> Submit:
        return Submit(
            ask=self._pool.next_ask(),
            generation_id=uuid.uuid4().hex,
            owner=owner,
            client=client,
            request=request,
            grace_seconds=grace_seconds,
            attach=grace_seconds == 0,
            reject_if_busy=reject_if_busy,
        )

    def start(self, submit: Submit) -> tuple[Subscription, list[Item]]:
        """A subscription whose generation an engine has taken, and the items read on the way.

        Raises RequestError where it is refused, or fails before an engine has taken it: then no status line has
        been sent.
        """
        subscription = self.open(submit)
        try:
            return subscription, read_until_started(subscription)
        except BaseException:
            subscription.close()
            raise

    def open(self, submit: Submit) -> Subscription:
        """A subscription whose generation the pool has accepted, and whose reader is watched. Raises RequestError."""
        subscription = self._pool.generate(submit)
        try:
            watch_reader(subscription)
        except BaseException:
            subscription.close()
            raise
        return subscription

    def answer(self, submit: Submit) -> WholeAnswer:
        """The whole answer. Raises RequestError, also where it fails half-way."""
        answer = WholeAnswer()
        subscription, items = self.start(submit)
        with subscription:
            while True:
                for item in items:
                    answer.add(item)
                if answer.error:
                    raise answer.error
                if answer.finished:
                    return answer
                items = subscription.take(KEEP_ALIVE_SECONDS)


def read_until_started(subscription: Subscription) -> list[Item]:
    """What comes until an engine has taken the generation. Raises RequestError where it fails before."""
    while True:
        items = subscription.take(KEEP_ALIVE_SECONDS)
        started: list[Item] = []
        for item in items:
            error = failure_of(item)
            if error and not any(_has_text(earlier) for earlier in started):
                raise error
            if isinstance(item, Gone) or not isinstance(item.event, Queued | Loading):
                started.append(item)
        if started:
            return started


def _has_text(item: Item) -> bool:
    return isinstance(item, Published) and isinstance(item.event, Delta)
