"""API tokens: what is kept, who is let in, who is not."""

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from flask import Flask, request

from webapp.web.auth import LONGEST_TOKEN, MOST_START_UP_TOKENS, SCOPES, START_UP_NAME, ApiTokens, Holder
from webapp.web.database import Database
from webapp.web.errors import ApiTokenInvalid, ApiTokenMissing

KNOWN = "a-token-that-is-known"
OPERATOR = "a-token-for-operators"


@pytest.fixture
def tokens(database: Database) -> ApiTokens:
    return ApiTokens(database, known_token=KNOWN, operator_token=OPERATOR)


def holder_of(tokens: ApiTokens, headers: dict[str, str]) -> Holder:
    with Flask(__name__).test_request_context("/", headers=headers):
        return tokens.authenticate(request)


def authenticate(tokens: ApiTokens, header: str | None) -> str:
    return holder_of(tokens, {} if header is None else {"Authorization": header}).name


def bytes_of(path: Path) -> bytes:
    """All that is on the disk: the database and its write-ahead log."""
    return b"".join(each.read_bytes() for each in path.parent.iterdir())


def test_only_the_hash_of_a_token_is_kept(tokens: ApiTokens, path: Path) -> None:
    token = tokens.create("mine")

    on_disk = bytes_of(path)
    assert token.encode() not in on_disk
    assert hashlib.sha256(token.encode()).hexdigest().encode() in on_disk


def test_token_lets_its_holder_in_under_a_name_that_tells_nothing_of_it(tokens: ApiTokens) -> None:
    token, other = tokens.create("mine"), tokens.create("mine")

    names = {authenticate(tokens, f"Bearer {each}") for each in (token, other)}

    assert len(names) == 2
    assert not any(token in name or other in name for name in names)
    assert authenticate(tokens, f"Bearer {token}") in names


@pytest.mark.parametrize("write", ["Bearer {}", "bearer {}", "BEARER {}", "Bearer   {}", "Bearer {} "])
def test_scheme_is_read_in_any_case_and_with_any_spaces(tokens: ApiTokens, write: str) -> None:
    assert authenticate(tokens, write.format(tokens.create("mine"))).startswith("token:")


def test_known_token_and_operators_token_need_no_database(tmp_path: Path) -> None:
    tokens = ApiTokens(Database(f"sqlite:///{tmp_path}/none/none"), known_token=KNOWN, operator_token=OPERATOR)

    assert authenticate(tokens, f"Bearer {KNOWN}") == "token:known"
    assert authenticate(tokens, f"Bearer {OPERATOR}") == "token:operator"


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", f"Basic {KNOWN}", KNOWN, f"Token {KNOWN}", f"Bearer\t{KNOWN}"]
)
def test_request_without_a_bearer_token_is_told_so(tokens: ApiTokens, header: str | None) -> None:
    with pytest.raises(ApiTokenMissing):
        authenticate(tokens, header)


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Auth-Key": KNOWN},
        {"X-Auth-Key": f" {KNOWN} ", "X-Auth-Email": "somebody@example.com"},
        {"Authorization": f"Bearer {KNOWN}", "X-Auth-Key": "wrong"},
        {"Authorization": "Bearer ", "X-Auth-Key": KNOWN},
        {"Authorization": "Basic Og==", "X-Auth-Key": KNOWN},
    ],
    ids=str,
)
def test_key_of_cloudflares_sdks_is_a_token_where_there_is_no_bearer(
    tokens: ApiTokens, headers: dict[str, str]
) -> None:
    assert holder_of(tokens, headers).name == "token:known"


@pytest.mark.parametrize(
    ("headers", "refusal"),
    [
        ({"X-Auth-Email": "somebody@example.com"}, ApiTokenMissing),
        ({"X-Auth-Key": ""}, ApiTokenMissing),
        ({"X-Auth-Key": "wrong"}, ApiTokenInvalid),
        ({"Authorization": "Bearer wrong", "X-Auth-Key": KNOWN}, ApiTokenInvalid),
    ],
    ids=str,
)
def test_wrong_key_is_refused(tokens: ApiTokens, headers: dict[str, str], refusal: type[Exception]) -> None:
    with pytest.raises(refusal):
        holder_of(tokens, headers)


def test_token_may_do_what_it_was_made_for(tokens: ApiTokens) -> None:
    plain = tokens.create("plain")
    bound = tokens.create("bound", scopes=["read"], account="acc", rate_limit=7)

    holder = holder_of(tokens, {"Authorization": f"Bearer {plain}"})
    assert (holder.scopes, holder.account, holder.rate_limit) == (set(SCOPES), None, None)
    holder = holder_of(tokens, {"Authorization": f"Bearer {bound}"})
    assert (holder.scopes, holder.account, holder.rate_limit) == ({"read"}, "acc", 7)


def test_token_is_refused_from_its_expiry_on(tokens: ApiTokens) -> None:
    now = datetime.now(UTC)
    lasting = tokens.create("mine", expires_at=now + timedelta(hours=1))
    expired = tokens.create("mine", expires_at=now)

    assert authenticate(tokens, f"Bearer {lasting}")
    with pytest.raises(ApiTokenInvalid):
        authenticate(tokens, f"Bearer {expired}")


@pytest.mark.parametrize(
    "token",
    [
        "wrong",
        KNOWN + "x",
        KNOWN.upper(),
        "é" * 20,
        "\xff\xfe",
        "x" * (LONGEST_TOKEN + 1),
        "x" * 100_000,
        "' OR 1=1 --",
        "%",
        hashlib.sha256(KNOWN.encode()).hexdigest(),
    ],
    ids=lambda token: token[:20],
)
def test_wrong_token_is_refused_whatever_it_holds(tokens: ApiTokens, token: str) -> None:
    with pytest.raises(ApiTokenInvalid):
        authenticate(tokens, f"Bearer {token}")


def test_hash_of_a_token_is_no_token(tokens: ApiTokens) -> None:
    token = tokens.create("mine")

    with pytest.raises(ApiTokenInvalid):
        authenticate(tokens, f"Bearer {hashlib.sha256(token.encode()).hexdigest()}")


@pytest.mark.parametrize(
    "by", [lambda token: "mine", lambda token: token, lambda token: "1"], ids=["by name", "by token", "by id"]
)
def test_revoked_token_is_refused(tokens: ApiTokens, by: Callable[[str], str]) -> None:
    token, other = tokens.create("mine"), tokens.create("other")

    assert tokens.revoke(by(token)) == 1

    with pytest.raises(ApiTokenInvalid):
        authenticate(tokens, f"Bearer {token}")
    assert authenticate(tokens, f"Bearer {other}")
    assert tokens.revoke(by(token)) == 0


def test_revoking_a_name_revokes_all_tokens_of_it(tokens: ApiTokens) -> None:
    for _ in range(3):
        tokens.create("mine")

    assert tokens.revoke("mine") == 3


@pytest.mark.parametrize("number", ["2", "0", "9" * 18, "9" * 400, "١"])
def test_number_that_is_no_tokens_id_revokes_none(tokens: ApiTokens, number: str) -> None:
    tokens.create("mine")

    assert tokens.revoke(number) == 0


def test_revoked_tokens_are_listed_where_asked_for(tokens: ApiTokens) -> None:
    tokens.create("first")
    tokens.create("second")
    tokens.revoke("first")

    assert [token.name for token in tokens.find_all()] == ["second"]
    assert [token.name for token in tokens.find_all(has_revoked=True)] == ["first", "second"]


def test_only_the_tokens_of_the_last_starts_go_on_working(tokens: ApiTokens) -> None:
    mine = tokens.create("mine")
    made = [tokens.create_for_start_up() for _ in range(MOST_START_UP_TOKENS + 2)]

    for token in made[:2]:
        with pytest.raises(ApiTokenInvalid):
            authenticate(tokens, f"Bearer {token}")
    for token in (mine, *made[2:]):
        assert authenticate(tokens, f"Bearer {token}")
    assert tokens.revoke(START_UP_NAME) == MOST_START_UP_TOKENS


@pytest.mark.parametrize(
    ("header", "expected"),
    [(f"Bearer {OPERATOR}", True), (f"Bearer {KNOWN}", False), (f"Basic {OPERATOR}", False), ("", False)],
)
def test_only_the_operators_token_makes_an_operator(tokens: ApiTokens, header: str, *, expected: bool) -> None:
    with Flask(__name__).test_request_context("/", headers={"Authorization": header}):
        assert tokens.is_operator(request) is expected


def test_without_an_operators_token_nobody_is_one(database: Database) -> None:
    tokens = ApiTokens(database, known_token=None, operator_token=None)

    with Flask(__name__).test_request_context("/", headers={"Authorization": "Bearer "}):
        assert not tokens.is_operator(request)
