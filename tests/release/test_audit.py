"""What is said of a report of pip-audit."""

import json

import pytest
from release.audit import described


def report(*faults: dict[str, object]) -> str:
    return json.dumps({"dependencies": [{"name": "a", "version": "1", "vulns": faults}, {"name": "b", "version": "2"}]})


def test_faults_that_a_newer_version_corrects_count() -> None:
    assert described(report()) == ("None of 2 packages has a known fault.", False)
    text, correctable = described(report({"id": "X-1", "fix_versions": ["2", "3"]}))
    assert (text, correctable) == ("a 1: X-1, corrected in 2, 3", True)
    assert described(report({"id": "X-2", "fix_versions": []})) == ("a 1: X-2, corrected in no version yet", False)


def test_packages_that_the_list_does_not_know_are_not_taken_for_sound() -> None:
    skipped = {"name": "c", "version": "1", "skip_reason": "Dependency not found on PyPI and could not be audited"}
    packages = json.loads(report())["dependencies"]
    text, _ = described(json.dumps({"dependencies": [*packages, skipped]}))
    assert text == "1 of 3 packages are not in the list: c."
    with pytest.raises(ValueError, match="knows none"):
        described(json.dumps({"dependencies": [skipped]}))
