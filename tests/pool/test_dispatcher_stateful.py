"""Random submits, tokens, kills, aborts and readers: whatever their order, no text is lost, doubled or mixed.

Every generation's tokens are its positions, so its right text is known: "0 1 2 …", up to where it ended.
"""

from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from tests.pool.driving import Pool, entry, ids, text
from webapp.wire.generation import Delta, Failed, Finished, Started, Usage
from webapp.wire.messages import Accepted, Ended, LeaseEvent, Published, StepEvents

ENGINES = 2
LENGTHS = {"short": 0, "middle": 2, "long": 5}


@dataclass
class Reader:
    """A web process with one reader that follows the rules: resumes after the last id, and must see id by id."""

    reader: bytes
    generation_id: str
    last_id: int = 0
    read_until: int = 0


class DispatcherMachine(RuleBasedStateMachine):
    generations = Bundle("generations")
    readers = Bundle("readers")

    @initialize()
    def start(self) -> None:
        self.pool = Pool(entry(slots=2, engines=ENGINES), queue_length=5, client_limit=4)
        self.accepted: dict[str, int] = {}
        self.attached: list[Reader] = []
        self.old_leases: list[tuple[str, int]] = []
        self.made: dict[int, int] = {}
        self.web_count = 0
        for post in range(ENGINES):
            self.pool.start_engine(post)

    # --- web processes ---

    @rule(
        target=generations,
        client=st.sampled_from("abc"),
        length=st.sampled_from(sorted(LENGTHS.values())),
        attach=st.booleans(),
        grace=st.sampled_from([0.0, 1.0, 1000.0]),
    )
    def submit(self, client: str, length: int, *, attach: bool, grace: float) -> str:
        generation_id = f"g{self.web_count}"
        web = self._new_web()
        answer = self.pool.submit(generation_id, reader=web, client=client, attach=attach, grace_seconds=grace)
        if isinstance(answer, Accepted):
            self.accepted[generation_id] = length
            if attach:
                self.attached.append(Reader(web, generation_id))
        return generation_id

    @rule(generation_id=generations)
    def submit_again(self, generation_id: str) -> None:
        if generation_id in self.accepted:
            answer = self.pool.submit(generation_id, attach=False)
            assert isinstance(answer, Accepted)

    @rule(target=readers, generation_id=generations)
    def attach(self, generation_id: str) -> Reader:
        reader = Reader(self._new_web(), generation_id)
        self._resume(reader)
        return reader

    @rule(reader=readers)
    def attach_anew(self, reader: Reader) -> None:
        self._read(reader)
        if reader in self.attached:
            self.attached.remove(reader)
        self._resume(reader)

    @rule(reader=readers)
    def leave(self, reader: Reader) -> None:
        self._read(reader)
        if reader in self.attached:
            self.attached.remove(reader)
            self.pool.detach(reader.generation_id, reader=reader.reader)

    @rule(reader=readers)
    def lose_web_process(self, reader: Reader) -> None:
        self._read(reader)
        if reader in self.attached:
            self.attached.remove(reader)
        self.pool.dispatcher.lose_web_process(reader.reader, self.pool.now)
        self.pool.wait(0)

    @rule(generation_id=consumes(generations))
    def abort(self, generation_id: str) -> None:
        self.pool.abort(generation_id)

    # --- engines ---

    @rule(post=st.integers(0, ENGINES - 1))
    def step(self, post: int) -> None:
        self._step(post)

    @rule(post=st.integers(0, ENGINES - 1))
    def kill_engine(self, post: int) -> None:
        engine = self.pool.posts[post]
        if engine.is_started:
            self.old_leases += [(d.generation_id, d.lease) for d in self.pool.running(engine.engine_id).values()]
            self.pool.lose_engine(post)

    @rule(post=st.integers(0, ENGINES - 1))
    def start_engine(self, post: int) -> None:
        if not self.pool.posts[post].is_started:
            self.pool.start_engine(post)

    @rule(post=st.integers(0, ENGINES - 1), position=st.integers(0, 9))
    def say_something_under_an_old_lease(self, post: int, position: int) -> None:
        for generation_id, lease in self.old_leases[-3:]:
            wrong = [
                LeaseEvent(generation_id, lease, Delta(position, "wrong", (99,))),
                LeaseEvent(generation_id, lease, Finished("stop", Usage(1, 99))),
            ]
            self.pool.from_engine(self.pool.posts[post].engine_id, StepEvents(wrong))

    @rule(post=st.integers(0, ENGINES - 1))
    def skip_a_token(self, post: int) -> None:
        engine_id = self.pool.posts[post].engine_id
        for dispatch in list(self.pool.running(engine_id).values())[:1]:
            self.pool.event(engine_id, dispatch.generation_id, Delta(50, "wrong", (99,)), lease=dispatch.lease)

    @rule()
    def kill_pool(self) -> None:
        """Another takes over with what the first had kept; engines and web processes live on."""
        for reader in self.attached:
            self._read(reader)
        killed, self.pool = self.pool, self.pool.killed()
        for post, engine in enumerate(killed.posts):
            if engine.is_started:
                self.old_leases += [(d.generation_id, d.lease) for d in killed.running(engine.engine_id).values()]
                self.pool.start_engine(post)
        attached, self.attached = self.attached, []
        for reader in attached:
            self._resume(reader)

    @rule()
    def probe(self) -> None:
        self.pool.state(probe=True)

    # --- time ---

    @rule(seconds=st.sampled_from([0.25, 0.8, 2.0]))
    def wait(self, seconds: float) -> None:
        for engine in self.pool.posts:
            if engine.is_started:
                self.pool.beat(engine.engine_id)
        self.pool.wait(seconds)

    # --- what always holds ---

    @invariant()
    def accepted_is_ended_and_running_and_waiting(self) -> None:
        state = self.pool.state()
        ended = sum(generation.is_ended for generation in self.pool.dispatcher._generations)
        probes = sum(each.is_probe for engine in self.pool.posts for each in engine.leases.values())
        assert len(self.accepted) == ended + state.running - probes + sum(state.waiting.values())

    @invariant()
    def counts_of_clients_are_those_of_what_runs(self) -> None:
        running = [each for engine in self.pool.posts for each in engine.leases.values() if not each.is_probe]
        assert self.pool.line._running.total() == len(running)

    @invariant()
    def no_engine_has_more_than_it_can_hold(self) -> None:
        assert all(engine.room >= 0 for engine in self.pool.posts if engine.is_ready)

    @invariant()
    def readers_see_ids_without_gap_or_repeat(self) -> None:
        for reader in self.attached:
            self._read(reader)

    def teardown(self) -> None:
        """In the end everything ends: once, with its id the last, and with the right text."""
        if not hasattr(self, "pool"):
            return
        for _ in range(60):
            for post in range(ENGINES):
                self.start_engine(post)
                self._step(post)
        state = self.pool.state()
        assert (state.running, state.waiting) == (0, {})
        for reader in self.attached:
            self._read(reader)
            kept = self.pool.dispatcher._generations.find(reader.generation_id)
            assert reader.last_id == len(kept.events)
        for number, (generation_id, length) in enumerate(self.accepted.items()):
            fresh = b"audit-%d" % number
            self.pool.attach(generation_id, reader=fresh)
            numbered = self.pool.numbered(generation_id, fresh)
            *deltas, (_, end) = numbered
            assert ids(numbered) == list(range(1, len(numbered) + 1))
            assert isinstance(end, Finished | Failed)
            assert not any(isinstance(event, Finished | Failed) for _, event in deltas)
            assert text(deltas) == "".join(f"{position} " for position in range(len(deltas)))
            if isinstance(end, Finished) and end.finish_reason == "stop":
                assert len(deltas) == length

    # --- the engines' and the readers' side ---

    def _step(self, post: int) -> None:
        """Each generation of this engine makes its next token, or ends."""
        engine_id = self.pool.posts[post].engine_id
        rows = []
        for dispatch in self.pool.running(engine_id).values():
            lease = dispatch.lease
            if lease not in self.made:
                self.made[lease] = len(dispatch.token_ids)
                rows.append(LeaseEvent(dispatch.generation_id, lease, Started(1, "cpu", "scripted")))
            position = self.made[lease]
            if position >= self.accepted.get(dispatch.generation_id, 1):
                rows.append(LeaseEvent(dispatch.generation_id, lease, Finished("stop", Usage(1, position))))
            else:
                self.made[lease] += 1
                rows.append(LeaseEvent(dispatch.generation_id, lease, Delta(position, f"{position} ", (position,))))
        self.pool.from_engine(engine_id, StepEvents(rows))

    def _new_web(self) -> bytes:
        self.web_count += 1
        return b"web-%d" % self.web_count

    def _resume(self, reader: Reader) -> None:
        reader.read_until = len(self.pool.heard[reader.reader])
        answer = self.pool.attach(reader.generation_id, after=reader.last_id, reader=reader.reader)
        if isinstance(answer, Accepted):
            self.attached.append(reader)
        else:
            assert isinstance(answer, Ended) or reader.generation_id not in self.accepted
        self._read(reader)

    def _read(self, reader: Reader) -> None:
        heard = self.pool.heard[reader.reader]
        for message in heard[reader.read_until :]:
            if isinstance(message, Published) and message.event_id:
                assert message.generation_id == reader.generation_id
                assert message.event_id == reader.last_id + 1
                reader.last_id = message.event_id
        reader.read_until = len(heard)


DispatcherMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestDispatcher = DispatcherMachine.TestCase
