"""Sentences of the report that no other test covers."""

from dataclasses import replace

from offramp.run.report_notes import rank_note
from tests.report import fake


def test_the_report_says_how_well_the_supernet_ranked_networks() -> None:
    """Before training 0.5, 0.6, 0.7 and 0.8, and after it in the order 1, 3, 2, 4: Spearman 0.8, Kendall 2/3."""
    networks = []
    for before, after in ((0.5, 0.81), (0.6, 0.89), (0.7, 0.85), (0.8, 0.95)):
        item = fake.evaluation(fake.architecture((1, 1, 1), (12, 24, 40), (2,)), before, 0.5)
        record = fake.chosen("knee", item)
        searched = replace(item, values={**item.values, "accuracy": before})
        networks.append(replace(record, searched=searched, validation=replace(record.validation, top1=after)))
    (note,) = rank_note(networks)
    assert "accuracies of 4 networks" in note
    assert "0.80 (Spearman) and 0.67 (Kendall)" in note
    assert rank_note(networks[:2]) == ()
    assert rank_note([replace(item, searched=None) for item in networks]) == ()
