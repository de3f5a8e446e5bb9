"""A study of bit widths: its table, its figure and its page."""

from dataclasses import replace
from pathlib import Path

import pytest
from benchmarks.precision_study_page import (
    PrecisionStudy,
    StudyRow,
    StudySetting,
    plot_study,
    study_description,
    study_table,
    write_study_page,
)

from offramp.errors import RunError

THEIRS = StudyRow("published", (0.25, 0.75), (36.6, 1137.0), 466.7, 561967.0, 6.3e-4, 0.885)
OURS = replace(THEIRS, source="ours", exit_rates=(0.5, 0.5), accuracy=0.8, exit_accuracies=(0.7, 0.81))


def study() -> PrecisionStudy:
    wide = replace(THEIRS, accuracy=None, average_et=4923.8)
    settings = (StudySetting("32/32", (wide, OURS)), StudySetting("8/8", (THEIRS, OURS)))
    return PrecisionStudy("Bits <compared>", "On a chip", ("exit 3", "final"), settings, ("A note & more.",))


def test_the_table_has_a_row_for_each_setting_and_source() -> None:
    table = study_table(study())
    assert [column.heading for column in table.columns] == [
        *("Backbone/branch bits", "Whose", "Average ET", "Accuracy"),
        *("Leave at exit 3", "Leave at final", "ET to exit 3", "ET to final"),
    ]
    first, second, third, _ = table.rows
    rates = ["25.0\u00a0%", "75.0\u00a0%"]
    assert [cell.text for cell in first] == ["32/32", "published", "4924", "–", *rates, "36.6", "1137"]
    assert (second[0].text, second[1].text, second[3].text) == ("", "ours", "80.0\u00a0%")
    assert second[4].note == "70.0\u00a0% right alone"
    assert third[3].text == "88.5\u00a0%"


def test_the_figure_shows_average_products_and_who_leaves_early() -> None:
    figure = plot_study(study())
    bars = [(trace.name, list(trace.x), list(trace.y)) for trace in figure.data]
    assert bars == [
        ("published", ["32/32", "8/8"], [4923.8, 466.7]),
        ("published", ["32/32", "8/8"], [25.0, 25.0]),
        ("ours", ["32/32", "8/8"], [466.7, 466.7]),
        ("ours", ["32/32", "8/8"], [50.0, 50.0]),
    ]
    assert figure.layout.yaxis.type == "log"
    assert "8/8, published: 467" in study_description(study())


def test_the_page_is_self_contained_and_escapes_what_it_shows(tmp_path: Path) -> None:
    write_study_page(study(), tmp_path / "study.html")
    text = (tmp_path / "study.html").read_text()
    assert "<h1>Bits &lt;compared&gt;</h1>" in text
    assert "A note &amp; more." in text
    assert 'src="http' not in text
    with pytest.raises(RunError, match="cannot be written"):
        write_study_page(study(), tmp_path / "no" / "study.html")
