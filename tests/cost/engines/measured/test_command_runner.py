"""A command of an accelerator's file is run only with permission, and its answers are checked."""

from pathlib import Path
from typing import Any

import pytest

from offramp.cost.engines.measured.command_runner import PERMISSION, CommandRunner
from offramp.cost.engines.measured.device_runner import TimedRuns
from offramp.cost.engines.measured.network_files import TimedFile
from offramp.errors import ConfigError
from tests.cost.engines.measured.devices import device

FILE = TimedFile(b"0123456789", "a layer (conv)")


@pytest.fixture(autouse=True)
def permission(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PERMISSION, "1")


def runner(folder: Path, script: str, arguments: str = "{model}", **measurement: Any) -> CommandRunner:
    board = device(folder, script, arguments, **measurement)
    assert board.runner is not None
    return CommandRunner(board.runner, board.name)


def test_a_command_is_not_run_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PERMISSION)
    made = tmp_path / "made"
    with pytest.raises(ConfigError, match=r"run only with permission.*--allow-runner"):
        runner(tmp_path, f"touch {made}\necho 'latency_ns: 5'").measure(FILE)
    assert not made.exists()


def test_the_least_latency_and_energy_count_and_units_are_converted(tmp_path: Path) -> None:
    script = "echo hello\n" + "\n".join(
        f"echo 'latency_{unit}: {value}'; echo 'energy_{joule}={energy}'"
        for unit, value, joule, energy in (("us", 5, "uj", 7), ("ms", 0.004, "nj", 6000), ("ns", 6000, "uj", 8))
    )
    runs = runner(tmp_path, script).measure(FILE)
    assert runs.seconds == pytest.approx(4e-6)
    assert runs.energy_j == pytest.approx(6e-6)
    assert runs.spread_s == pytest.approx(0.5e-6)  # the quartiles of 4, 5 and 6 us are 4.5 and 5.5 us


def test_the_file_is_named_and_is_the_standard_input(tmp_path: Path) -> None:
    script = 'echo "latency_ns: $(wc -c < "$1")"; echo "latency_ns: $(wc -c)"; echo "latency_ns: $2$3"'
    runs = runner(tmp_path, script, "{model} {warm_up} {repetitions}", warm_up=1, repetitions=2).measure(FILE)
    assert runs == TimedRuns(10e-9, pytest.approx(0.5e-9))  # 10, 10 and 12 ns


def test_no_shell_reads_the_command(tmp_path: Path) -> None:
    script = 'echo "latency_ns: $#"; echo "latency_ns: $#"'
    assert runner(tmp_path, script, "{model} ; 'a b' $HOME > x").measure(FILE).seconds == pytest.approx(6e-9)


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        ("exit 3", "ended with code 3"),
        ("echo no such board >&2; exit 1", "no such board"),
        ("true", "must print lines such as `latency_us: 123.4`"),
        ("echo latency: 5", "must print lines such as"),
        ("echo latency_min: 5", "must print lines such as"),
        ("echo latency_mh: 5", "must print lines such as .*latency_mh"),
        ("echo latency_us: fast", "above 0, got 'latency_us: fast'"),
        ("echo latency_us: -5", "above 0"),
        ("echo latency_us: nan", "above 0"),
        ("echo latency_us: 5; echo latency_us: 6; echo energy_uj: 1", "as many energies as latencies, got 1 and 2"),
        ("echo latency_us: 5; echo energy_mJ: 1", "must print lines such as .*energy_mJ: 1"),
        ("echo latency_us: 5; echo energy_uj: 1 uJ", "must print lines such as .*energy_uj: 1 uJ"),
        ("yes", "printed more than"),
    ],
)
def test_a_bad_answer_ends_with_a_sentence_that_names_the_runner(tmp_path: Path, script: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=f"runner of accelerator 'board'.*a layer \\(conv\\).*{sentence}"):
        runner(tmp_path, script).measure(FILE)


def test_a_command_that_hangs_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    made = tmp_path / "made"
    with pytest.raises(ConfigError, match=r"longer than 0\.2 s"):
        runner(tmp_path, f"(sleep 1; touch {made}) & sleep 30", timeout_s=0.2).measure(FILE)
    assert not made.exists()


def test_without_energies_a_power_is_needed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="prints no energy; state `power_w`"):
        runner(tmp_path, "echo latency_us: 5", power_w=None).measure(FILE)


def test_a_missing_program_is_told(tmp_path: Path) -> None:
    board = runner(tmp_path, "true")
    missing = CommandRunner(type(board.runner)("/no/such/program {model}", board.runner.measurement), "board")
    with pytest.raises(ConfigError, match="cannot be started"):
        missing.measure(FILE)
