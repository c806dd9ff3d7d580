"""The line: who is let in, who is next, and that counts go back to nothing."""

import pytest

from tests.pool.driving import COLD, MODEL, generation, submit
from webapp.pool.generation_log import Generation
from webapp.pool.waiting_line import Refusal, WaitingLine


def make_line(*, queue_length: int = 100, client_limit: int = 100) -> WaitingLine:
    return WaitingLine(queue_length=queue_length, client_limit=client_limit)


def admit(line: WaitingLine, *names: str, is_room: bool = False, model: str = MODEL) -> list[Generation]:
    """Admit generations of the client whose name each begins with, in this order."""
    made = [
        generation(name, client=name[0], accepted_at=float(number), model=model) for number, name in enumerate(names)
    ]
    for each in made:
        line.admit(each, is_room=is_room)
    return made


def order(line: WaitingLine, model: str = MODEL) -> list[str]:
    return [each.generation_id for each in line.in_order(model)]


def test_one_client_is_served_in_the_order_of_arrival() -> None:
    line = make_line()

    admit(line, "a1", "a2", "a3")

    assert order(line) == ["a1", "a2", "a3"]


def test_clients_take_turns_whatever_the_order_of_arrival() -> None:
    line = make_line()

    admit(line, "a1", "a2", "a3", "b1", "b2", "c1")

    assert order(line) == ["a1", "b1", "c1", "a2", "b2", "a3"]


def test_client_with_a_hundred_generations_delays_another_by_one_turn() -> None:
    line = make_line(client_limit=1000, queue_length=1000)

    admit(line, *(f"a{number}" for number in range(100)), "b1")

    assert order(line).index("b1") == 1


def test_client_that_already_runs_comes_after_one_that_does_not() -> None:
    line = make_line()
    first, *_ = admit(line, "a1", "a2", "b1")

    line.take(first)

    assert order(line) == ["b1", "a2"]


def test_client_with_a_long_line_does_not_go_again_before_one_that_waits() -> None:
    # Where one generation runs at a time, nobody runs at the moment of choosing.
    line = make_line()
    first, *_ = admit(line, "a1", "a2", "a3", "b1")

    line.take(first)
    line.release(first)

    assert order(line) == ["b1", "a2", "a3"]


def test_client_that_has_gone_leaves_nothing_behind() -> None:
    line = make_line()
    first, second = admit(line, "a1", "b1")
    line.take(first)
    line.release(first)
    line.remove(second)

    assert not line._last_turns and not line._running


def test_lines_of_two_models_do_not_mix() -> None:
    line = make_line()

    admit(line, "a1")
    admit(line, "b1", model=COLD)

    assert (order(line), order(line, COLD)) == (["a1"], ["b1"])
    assert line.counts() == {MODEL: 1, COLD: 1}


def test_generation_whose_engine_was_lost_goes_first() -> None:
    line = make_line()
    first, second, _ = admit(line, "a1", "a2", "b1")
    line.take(first)
    line.take(second)

    second.is_interrupted = True
    line.put_back(second)

    assert order(line) == ["a2", "b1"]


def test_generation_that_is_put_back_counts_once() -> None:
    line = make_line(client_limit=1)
    (first,) = admit(line, "a1")
    line.take(first)
    line.put_back(first)
    line.take(first)
    line.release(first)

    admit(line, "a2")

    assert order(line) == ["a2"]


def test_full_queue_refuses_with_a_time_to_come_back() -> None:
    line = make_line(queue_length=2)
    admit(line, "a1", "b1")

    with pytest.raises(Refusal) as refused:
        admit(line, "c1")

    assert refused.value.code == "PoolOverloaded"
    assert refused.value.retry_after >= 1
    assert order(line) == ["a1", "b1"]


def test_full_queue_of_one_model_leaves_the_other_open() -> None:
    line = make_line(queue_length=1)
    admit(line, "a1")

    admit(line, "b1", model=COLD)

    assert order(line, COLD) == ["b1"]


def test_queue_of_no_length_takes_what_an_engine_can_take_at_once() -> None:
    line = make_line(queue_length=0)

    with pytest.raises(Refusal):
        admit(line, "a1", is_room=False)
    admit(line, "a1", is_room=True)

    assert order(line) == ["a1"]


def test_client_limit_counts_waiting_and_running_of_all_models() -> None:
    line = make_line(client_limit=3)
    (running,) = admit(line, "a1")
    line.take(running)
    admit(line, "a2")
    admit(line, "a3", model=COLD)

    with pytest.raises(Refusal) as refused:
        admit(line, "a4", is_room=True)

    assert refused.value.code == "ClientLimitReached"
    admit(line, "b1")


@pytest.mark.parametrize("how", ["release", "remove"])
def test_client_at_its_limit_may_come_back_once_one_has_ended(how: str) -> None:
    line = make_line(client_limit=1)
    (first,) = admit(line, "a1")
    if how == "release":
        line.take(first)
        line.release(first)
    else:
        line.remove(first)

    admit(line, "a2")

    assert order(line) == ["a2"]


def test_reject_if_busy_is_refused_where_it_would_wait() -> None:
    line = make_line()
    impatient = Generation(submit("a1", reject_if_busy=True), 1.0)

    with pytest.raises(Refusal) as refused:
        line.admit(impatient, is_room=False)
    assert refused.value.code == "PoolOverloaded"

    line.admit(impatient, is_room=True)
    assert order(line) == ["a1"]


def test_model_without_a_line_is_not_counted() -> None:
    line = make_line()
    (first,) = admit(line, "a1")

    line.remove(first)

    assert line.counts() == {}
