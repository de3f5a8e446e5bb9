"""Settings survive the way to a file and back, and a bad file says what is wrong with it."""

from pathlib import Path

import pytest

from offramp.errors import ConfigError
from offramp.settings.by_name import with_settings
from offramp.settings.config import Config
from offramp.settings.config_file import config_from_text, load_config


def test_yaml_round_trip(tmp_path: Path) -> None:
    config = with_settings(Config(), {"seed": 7, "data.source": "somewhere", "search.constraints": ("macs<=2M",)})
    config.save(tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml") == config


def test_missing_settings_keep_their_defaults(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("seed: 3\ntrain: {epochs: 2}\n")
    config = load_config(tmp_path / "c.yaml")
    assert config.seed == 3
    assert config.train.epochs == 2
    assert config.train.batch_size == Config().train.batch_size


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("")
    assert load_config(tmp_path / "c.yaml") == Config()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sed: 1", "sed: there is no such name. Did you mean 'seed'? (given: 1)"),
        ("train: {epoch: 3}", "train.epoch: there is no such name. Did you mean 'epochs'?"),
        ("data: {sources: {a: 1}}", "data.sources: there is no such name. Did you mean 'source'?"),
        ("zzz: {a: 1}", "zzz: there is no such name."),
        ("seed: -1", "seed"),
        ("train: {epochs: 0}", "train.epochs"),
        ("train: {learning_rate: .nan}", "train.learning_rate"),
        ("data: {validation_share: 0.6, test_share: 0.6}", "leave something to train on"),
        ("space: {branches: []}", "at least one"),
        ("space: {branches: [conv, conv]}", "no entry twice"),
        ("fine_tune: {guarantee: 0.01}", "fine_tune.guarantee"),
        ("fine_tune: {drop_exits: true, guarantee: 0.01@0.95}", "leave one of them out"),
        ("fine_tune: {teacher: reference, reference: false}", "teacher reference needs a reference that is trained"),
        (
            "{fine_tune: {teacher: reference}, execution: {cluster: 'tcp://a:1'}}",
            "which a cluster's workers do not see",
        ),
        ("fine_tune: {guarantee: 1@0.95}", "such as 0.01@0.95, got '1@0.95'"),
        ("fine_tune: {guarantee: " + "1" * 50 + "@0.9}", "fine_tune.guarantee"),
        ("version: 2", "version 2"),
        ("- a\n- b", "named settings"),
        ("just words", "named settings"),
        ("a: [1,", "parsed"),
        ("a: !!python/object/apply:os.system ['true']", "parsed"),
    ],
)
def test_faults_are_named(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"c\.yaml") as caught:
        load_config(tmp_path / "c.yaml")
    assert expected in str(caught.value)


def test_all_faults_are_in_one_message(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("seed: x\ntrain: {epochs: -1, batch: 3}\n")
    with pytest.raises(ConfigError, match=r"3 fault\(s\)") as caught:
        load_config(tmp_path / "c.yaml")
    assert all(name in str(caught.value) for name in ("seed", "train.epochs", "train.batch"))


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / "missing.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path)
    (tmp_path / "binary.yaml").write_bytes(bytes(range(128, 256)))
    with pytest.raises(ConfigError, match="cannot be parsed"):
        load_config(tmp_path / "binary.yaml")
    (tmp_path / "huge.yaml").write_text("a" * 1_000_001)
    with pytest.raises(ConfigError, match="at most 256 KiB"):
        load_config(tmp_path / "huge.yaml")


def test_a_guarantee_is_kept_as_it_was_written(tmp_path: Path) -> None:
    config = with_settings(Config(), {"fine_tune.guarantee": "0.01@0.95"})
    config.save(tmp_path / "c.yaml")
    assert load_config(tmp_path / "c.yaml").fine_tune.guarantee == "0.01@0.95"
    assert Config().fine_tune.guarantee is None


@pytest.mark.parametrize(
    ("text", "clauses"),
    [
        ("seed: 1\nseed: 2\n", ["'seed' stands a second time in line 2"]),
        ("data: {source: a}\nseed: 1\ndata: {augment: false}\n", ["'data' stands a second time in line 3"]),
        (
            "train:\n  epochs: 1\n  epochs: 2\nseed: 3\nseed: 3\n",
            ["'epochs' stands a second time in line 3", "'seed' stands a second time in line 5"],
        ),
    ],
)
def test_a_name_that_is_given_twice_is_refused(text: str, clauses: list[str]) -> None:
    with pytest.raises(ConfigError, match="must give every setting once") as error:
        config_from_text(text, "The file")
    assert all(clause in str(error.value) for clause in clauses)


@pytest.mark.parametrize("text", ["seed: !!timestamp x\n", "seed: !!bool maybe\n", "seed: !!int ''\n"])
def test_a_value_that_contradicts_its_tag_is_a_fault_of_the_file(text: str) -> None:
    with pytest.raises(ConfigError, match="The file must be YAML text, but it cannot be parsed"):
        config_from_text(text, "The file")


@pytest.mark.parametrize("text", ["seed: &a [*a]\n", "data: &d {source: *d}\n"])
def test_a_value_within_itself_is_a_fault_of_the_file(text: str) -> None:
    with pytest.raises(ConfigError, match=r"The file must be YAML text, but .* aliases"):
        config_from_text(text, "The file")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("train:\n  epochs: 010\n", "'010' in line 2 is a number in base 8"),
        ("budget: {seconds: 1:30}", "'1:30' in line 1 is a number in base 60"),
        ("data: {source: 2:05}", "in quotes if it is text"),
        ("train: {epochs: 3}\nseed: 1\ntrain: {learning_rate: 0.01}\n", "'train' stands a second time in line 3"),
    ],
)
def test_nothing_is_decided_silently(text: str, fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        config_from_text(text, "The file")


@pytest.mark.parametrize(
    ("text", "dropped"),
    [
        ("{}", True),
        ("fine_tune: {drop_exits: false}", False),
        ("fine_tune: {guarantee: 0.01@0.95}", False),
        ("fine_tune: {drop_exits: false, guarantee: 0.01@0.95}", False),
    ],
)
def test_exits_that_do_not_pay_are_dropped_unless_a_guarantee_needs_the_samples(text: str, dropped: bool) -> None:
    config = config_from_text(text, "a test")
    assert config.fine_tune.drops_exits is dropped
    # A record holds what was left open as such.
    assert config_from_text(config.to_yaml(), "a test").fine_tune.drops_exits is dropped
