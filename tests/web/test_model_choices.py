"""The catalogue as the model picker shows it."""

import pytest

from tests.harness import SCRIPTED_MODELS
from tests.web.states import engine_state as engine
from tests.web.states import pool_state as pool
from webapp.catalog import read_catalog
from webapp.placement import Machine
from webapp.web.model_choices import default_model, model_choices

CATALOG = read_catalog(SCRIPTED_MODELS)


def test_new_page_selects_the_model_that_is_loaded_at_the_start() -> None:
    assert default_model(CATALOG) == "@jeton/scripted"


def test_states_are_those_of_the_engines_and_of_the_weights() -> None:
    loading = engine(state="loading", load_fraction=0.42, model="@jeton/scripted-small")

    states = {choice.name: choice for choice in model_choices(CATALOG, pool(engine(), loading))}

    assert states["@jeton/scripted"].state == "loaded"
    assert (states["@jeton/scripted-small"].state, states["@jeton/scripted-small"].load_percent) == ("loading", 42)
    assert (states["@jeton/missing"].state, states["@jeton/missing"].is_selectable) == ("not_installed", False)
    stand_in = states["@cf/meta/llama-2-7b-chat-int8"]
    assert (stand_in.state, stand_in.stand_in_title, stand_in.is_selectable) == ("not_installed", "Scripted", True)


def test_model_with_one_engine_lost_and_one_serving_is_loaded() -> None:
    for engines in ((engine(), engine(state="lost")), (engine(state="lost"), engine(state="busy"))):
        assert model_choices(CATALOG, pool(*engines))[0].state == "loaded"


@pytest.mark.parametrize("state", ["cold", "draining", "lost"])
def test_model_whose_engine_has_gone_or_is_going_is_cold(state: str) -> None:
    unloaded = engine(state=state, model="@jeton/scripted-small")

    states = {choice.name: choice.state for choice in model_choices(CATALOG, pool(engine(), unloaded))}

    assert states["@jeton/scripted-small"] == "cold"


def test_model_whose_engine_failed_says_so_without_what_is_for_the_log_and_can_be_tried_again() -> None:
    failed = engine(state="lost", error="OSError: /home/jeton/weights is no folder")

    choice = model_choices(CATALOG, pool(failed))[0]

    assert (choice.state, choice.is_selectable) == ("cold", True)
    assert choice.obstacle == "Its last engine failed: Jeton's log says why."


def test_model_that_does_not_fit_says_why_and_cannot_be_chosen() -> None:
    catalog = read_catalog(SCRIPTED_MODELS, machine=Machine(host_budget=4 * 10**9))

    choices = {choice.name: choice for choice in model_choices(catalog, pool(engine()))}

    huge = choices["@jeton/scripted-huge"]
    assert (huge.state, huge.is_selectable) == ("unavailable", False)
    assert "needs about 900000.0 GB" in (huge.obstacle or "")
    assert (choices["@jeton/scripted-slow"].state, choices["@jeton/scripted-slow"].obstacle) == ("cold", None)
    assert choices["@jeton/missing"].obstacle is None


def test_without_the_pool_installed_models_are_cold() -> None:
    assert model_choices(CATALOG, None)[0].state == "cold"
