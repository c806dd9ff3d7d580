"""How often one caller may do something: who counts as one, who is not counted, and what the clock may do."""

import time
from collections.abc import Callable

import pytest
from flask import Flask, request

from webapp.web.auth import Holder
from webapp.web.errors import InvalidFields, RateLimitReached, WrongTokenLimitReached
from webapp.web.limits import (
    LINKS_A_MINUTE,
    MANAGE_KEYS_A_MINUTE,
    REPORTS_A_MINUTE,
    TOKEN_COUNTS_A_MINUTE,
    WRONG_TOKENS_A_MINUTE,
    Quota,
    RateLimits,
)

ADDRESS = "192.0.2.1"
FAR_MORE = 50


def limits(a_minute: int = 4, web_processes: int = 1) -> RateLimits:
    return RateLimits(generations_a_minute=a_minute, web_processes=web_processes)


def allowed(count: Callable[..., None], *, address: str = ADDRESS, headers: dict[str, str] | None = None) -> int:
    """How often this caller may before the first refusal; FAR_MORE where there is none."""
    with Flask(__name__).test_request_context(
        "/", base_url="http://localhost", headers=headers, environ_overrides={"REMOTE_ADDR": address}
    ):
        for number in range(FAR_MORE):
            try:
                count(request)
            except (RateLimitReached, WrongTokenLimitReached) as refused:
                assert refused.retry_after is not None and 1 <= refused.retry_after <= 60
                return number
    return FAR_MORE


@pytest.mark.parametrize(("a_minute", "web_processes", "share"), [(4, 1, 4), (10, 2, 5), (10, 3, 3), (1, 8, 1)])
def test_each_process_allows_its_share_and_at_least_one(*, a_minute: int, web_processes: int, share: int) -> None:
    assert allowed(limits(a_minute, web_processes).count_generation) == share


@pytest.mark.parametrize(
    ("count", "most"),
    [
        ("count_link", LINKS_A_MINUTE),
        ("count_report", REPORTS_A_MINUTE),
        ("count_manage_key", MANAGE_KEYS_A_MINUTE),
    ],
)
def test_strangers_share_report_and_try_keys_a_few_times_a_minute(*, count: str, most: int) -> None:
    one = limits()

    assert allowed(getattr(one, count)) == most
    assert allowed(getattr(one, count), address="192.0.2.2") == most
    assert allowed(getattr(one, count), address="127.0.0.1") == FAR_MORE


def test_zero_is_no_limit() -> None:
    assert allowed(limits(0).count_generation) == FAR_MORE


def test_generations_of_one_request_are_counted_together_or_not_at_all() -> None:
    one = limits()

    assert allowed(lambda given: one.count_generation(given, count=3)) == 1
    assert allowed(lambda given: one.count_generation(given, count=2)) == 0
    assert allowed(one.count_generation) == 1


def test_more_generations_than_a_minute_has_are_no_matter_of_time() -> None:
    with pytest.raises(InvalidFields, match="at most 4"):
        allowed(lambda given: limits().count_generation(given, count=16))


def test_callers_are_counted_each_for_themselves() -> None:
    one = limits()

    assert [allowed(one.count_generation, address=address) for address in ("192.0.2.1", "192.0.2.2")] == [4, 4]
    assert allowed(one.count_generation) == 0


def test_holder_of_a_token_is_counted_wherever_they_call_from() -> None:
    one = limits()

    def count(given: object) -> None:
        one.count_generation(request, holder=Holder(name="token:1"))

    assert [allowed(count, address=address) for address in ("192.0.2.1", "192.0.2.2")] == [4, 0]
    assert allowed(one.count_generation) == 4


@pytest.mark.parametrize("a_minute", [0, 4, 100])
@pytest.mark.parametrize("address", [ADDRESS, "127.0.0.1"])
def test_limit_of_a_token_holds_instead_of_everybodys_and_everywhere(*, a_minute: int, address: str) -> None:
    one = limits(a_minute, web_processes=2)
    holder = Holder(name="token:1", rate_limit=12)

    assert allowed(lambda given: one.count_generation(given, holder=holder), address=address) == 6


def count_one(one: RateLimits) -> None:
    with Flask(__name__).test_request_context("/", environ_overrides={"REMOTE_ADDR": ADDRESS}):
        one.count_generation(request)


def quota_of(one: RateLimits, *, address: str = ADDRESS, holder: Holder | None = None) -> Quota | None:
    with Flask(__name__).test_request_context(
        "/", base_url="http://localhost", environ_overrides={"REMOTE_ADDR": address}
    ):
        return one.generation_quota(request, holder=holder)


def test_quota_counts_down_to_nothing_and_says_when_there_is_more(monkeypatch: pytest.MonkeyPatch) -> None:
    # Windows are whole minutes of the clock; this one has 20 seconds left.
    now = time.time() // 60 * 60 + 40
    monkeypatch.setattr(time, "time", lambda: now)
    one = limits(10, web_processes=2)
    quotas = []
    for _ in range(5):
        count_one(one)
        quotas.append(quota_of(one))

    assert quotas == [Quota(a_minute=5, left=left, more_after_seconds=20) for left in (4, 3, 2, 1, 0)]


def test_who_has_no_limit_has_no_quota() -> None:
    assert quota_of(limits(), address="127.0.0.1") is None
    assert quota_of(limits(0)) is None
    assert quota_of(limits(0), holder=Holder(name="token:1")) is None


@pytest.mark.parametrize(
    ("first", "second", "is_same"),
    [
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("not an address", "", True),
    ],
)
def test_networks_of_ipv6_are_one_caller(first: str, second: str, *, is_same: bool) -> None:
    one = limits()
    allowed(one.count_generation, address=first)

    assert allowed(one.count_generation, address=second) == (0 if is_same else 4)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
def test_callers_on_this_machine_are_not_counted(address: str) -> None:
    assert allowed(limits().count_generation, address=address) == FAR_MORE
    assert allowed(limits().count_wrong_token, address=address) == FAR_MORE


@pytest.mark.parametrize(
    "headers", [{"X-Forwarded-For": "127.0.0.1"}, {"Via": "1.1 proxy"}, {"Host": "rebound.example"}], ids=str
)
def test_callers_who_only_look_local_are_counted(headers: dict[str, str]) -> None:
    assert allowed(limits().count_generation, address="127.0.0.1", headers=headers) == 4


def test_wrong_tokens_have_a_limit_of_their_own() -> None:
    one = limits()
    allowed(one.count_generation)

    assert allowed(one.count_wrong_token) == WRONG_TOKENS_A_MINUTE


@pytest.mark.parametrize("shift", [3600, -3600, 86_400 * 365, -86_400 * 365])
def test_clock_that_is_set_locks_nobody_out(shift: int, monkeypatch: pytest.MonkeyPatch) -> None:
    one = limits()
    assert allowed(one.count_generation) == 4

    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + shift)

    assert allowed(one.count_generation) == 4


def test_counted_tokens_eat_nothing_of_the_generations() -> None:
    one = limits(4, web_processes=8)

    assert allowed(one.count_token_count) == TOKEN_COUNTS_A_MINUTE // 8
    assert allowed(one.count_token_count, address="127.0.0.1") == FAR_MORE
    assert allowed(one.count_generation) == 1
