"""What is said of a report of pip-audit."""

import json

from release.audit import described


def report(*faults: dict[str, object]) -> str:
    return json.dumps({"dependencies": [{"name": "a", "version": "1", "vulns": faults}, {"name": "b", "version": "2"}]})


def test_faults_that_a_newer_version_corrects_count() -> None:
    assert described(report()) == ("No package has a known fault.", False)
    text, correctable = described(report({"id": "X-1", "fix_versions": ["2", "3"]}))
    assert (text, correctable) == ("a 1: X-1, corrected in 2, 3", True)
    assert described(report({"id": "X-2", "fix_versions": []})) == ("a 1: X-2, corrected in no version yet", False)
