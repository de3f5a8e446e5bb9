"""Settings by dotted name, by keyword and as text; a wrong name is answered with the nearest one."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offramp.errors import ConfigError
from offramp.settings.budget_config import BudgetConfig
from offramp.settings.by_name import SETTINGS, find_setting, parse_assignment, with_settings
from offramp.settings.config import Config
from offramp.settings.cost_config import CostConfig


def test_settings_by_dotted_name() -> None:
    assert with_settings(Config(), {"cost.weight_bits": 4}).cost.weight_bits == 4
    with pytest.raises(ConfigError, match=r"no setting .cost\.bits."):
        with_settings(Config(), {"cost.bits": 4})
    with pytest.raises(ConfigError, match="weight_bits"):
        with_settings(Config(), {"cost.weight_bits": 0})


def test_settings_by_keyword_and_as_sections() -> None:
    changed = with_settings(Config(), {"seed": 3}, cost__weight_bits=4, budget=BudgetConfig(evaluations=5))
    assert (changed.seed, changed.cost.weight_bits, changed.budget.evaluations) == (3, 4, 5)
    # A single setting changes what its section holds, in whatever order they are given.
    both = with_settings(Config(), cost__weight_bits=4, cost=CostConfig(accelerator="diana", weight_bits=2))
    assert (both.cost.accelerator, both.cost.weight_bits) == ("diana", 4)
    for wrong, shown in (("digits", "'digits'"), (CostConfig(), "CostConfig"), ({"source": "digits"}, "{'source'")):
        with pytest.raises(ConfigError, match="'data' must be a DataConfig, such as data=DataConfig") as caught:
            with_settings(Config(), {"data": wrong, "data.augment": False})
        assert f"got {shown}" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (
            "cost.weight_bit",
            "There is no setting 'cost.weight_bit'. Did you mean 'cost.weight_bits'? Settings of cost: accelerator",
        ),
        ("fine_tune.drop_exit", "Did you mean 'fine_tune.drop_exits'?"),
        ("finetune.drop_exits", "Did you mean 'fine_tune.drop_exits'?"),
        ("drop_exits", "Did you mean 'fine_tune.drop_exits'?"),
        ("precision", "Did you mean 'space.precision' or 'train.precision'?"),
        ("sed", "Did you mean 'seed'?"),
        ("serach", "Did you mean 'search'?"),
        ("zzzz", "There is no setting 'zzzz'. Sections: data, space, cost"),
        ("cost.weight_bits.deep", "There is no setting"),
        ("version", "There is no setting 'version'."),
        ("", "There is no setting ''."),
    ],
)
def test_unknown_settings_are_answered_with_near_names(name: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        find_setting(name)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("fine_tune.drop_exits=true", "fine_tune.drop_exits", True),
        (" seed = 7 ", "seed", 7),
        ("train.learning_rate=1e-3", "train.learning_rate", 0.001),
        ("space.branches=[conv, pool_mlp]", "space.branches", ("conv", "pool_mlp")),
        ("space.branches=conv, pool_mlp", "space.branches", ("conv", "pool_mlp")),
        ("space.branches=conv", "space.branches", ("conv",)),
        ("space.accuracy_drops=0,0.5", "space.accuracy_drops", (0.0, 0.5)),
        ("space.analog_shares=[]", "space.analog_shares", ()),
        ("search.constraints=macs<=2M,accuracy>=0.5", "search.constraints", ("macs<=2M", "accuracy>=0.5")),
        ("fine_tune.picks=accuracy>=0.5,macs<=2M", "fine_tune.picks", ("accuracy>=0.5,macs<=2M",)),
        ("fine_tune.picks=[knee, 0]", "fine_tune.picks", ("knee", "0")),
        ("data.source=2024", "data.source", "2024"),
        ("data.source=yes", "data.source", "yes"),
        ("data.source='a b'", "data.source", "a b"),
        ("data.source=a=b", "data.source", "a=b"),
        ("data.source=[unfinished", "data.source", "[unfinished"),
        ("fine_tune.guarantee=0.01@0.95", "fine_tune.guarantee", "0.01@0.95"),
        ("space.weights=null", "space.weights", None),
        ("train.epochs=null", "train.epochs", None),
        ("execution.evaluation_resources={GPU: 1}", "execution.evaluation_resources", {"GPU": 1.0}),
    ],
)
def test_values_are_read_as_yaml(text: str, name: str, value: Any) -> None:
    found: Any = assign(text)
    for part in name.split("."):
        found = getattr(found, part)
    assert found == value


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("fine_tune.drop_exits", "must be given as NAME=VALUE, such as fine_tune.drop_exits=true, got"),
        ("=3", "There is no setting ''"),
        ("cost.bits=3", "Settings of cost: accelerator, engine"),
        ("budget=3", "'budget' is a section of the settings; set one of its settings: budget.NAME"),
        ("seed=[1", "The value of seed must be YAML, got '[1'"),
        ("seed=&a [*a]", "seed"),
    ],
)
def test_an_assignment_that_is_none_is_one_sentence(text: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        assign(text)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def assign(text: str) -> Config:
    setting, value = parse_assignment(text)
    return with_settings(Config(), {setting.name: value})


@given(st.sampled_from([*SETTINGS]), st.text(max_size=20))
def test_no_value_raises_anything_but_an_input_error(name: str, value: str) -> None:
    try:
        assign(f"{name}={value}")
    except ConfigError:
        return


def test_every_default_is_what_the_whole_holds() -> None:
    whole = Config()
    for name, setting in SETTINGS.items():
        section, _, field = name.rpartition(".")
        assert setting.default == getattr(getattr(whole, section) if section else whole, field), name
    kinds = {name: SETTINGS[name].kind for name in ("seed", "data.source", "space.branches", "cost.engine")}
    assert kinds == {"seed": "whole number", "data.source": "text", "space.branches": "list", "cost.engine": "text"}
    assert SETTINGS["space.precision"].choices == ("fixed", "network", "stage", "layer")
    assert (SETTINGS["train.epochs"].optional, SETTINGS["train.epochs"].kind) == (True, "whole number")
    assert SETTINGS["fine_tune.guarantee"].kind == "text"


@pytest.mark.parametrize(
    ("assignment", "fault"),
    [
        ("train.epochs=010", "must be plain, got '010': '010' in line 1 is a number in base 8"),
        ("budget.seconds=1:30", "base 60"),
        ("execution.evaluation_resources={GPU: 1, GPU: 2}", "'GPU' stands a second time"),
    ],
)
def test_values_that_yaml_would_decide_on_are_refused(assignment: str, fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        parse_assignment(assignment)


def test_text_stays_as_it_was_typed() -> None:
    assert parse_assignment("data.source=010")[1] == "010"
    assert parse_assignment("data.source=1:30")[1] == "1:30"
