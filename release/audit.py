"""`python -m release.audit`: compare the installed packages with the public list of known faults.

Exits with 1 where a package has a known fault that a newer version corrects. Where the list cannot be reached, or
pip-audit cannot be installed, it says so and exits with 0: an offline machine must be able to run the tests.
"""

import json
import subprocess
import sys
import tempfile
import venv
from importlib.metadata import distributions
from pathlib import Path

FOLDER = Path(".audit")
_LIMIT_S = 25


def main() -> None:
    try:
        print(_audit())
    except (OSError, subprocess.SubprocessError, ValueError, LookupError, TypeError) as exc:
        told = getattr(exc, "stderr", None) or str(exc)
        lines = [line for line in str(told).splitlines() if line.strip()]
        print(f"Not audited: the public list of known faults cannot be used here ({lines[-1] if lines else exc}).")


def described(report: str) -> tuple[str, bool]:
    """What a report of pip-audit says, and whether a newer version corrects something."""
    lines, correctable = [], False
    packages = json.loads(report)["dependencies"]
    unknown = [item["name"] for item in packages if item.get("skip_reason")]
    if len(unknown) == len(packages):
        raise ValueError("it knows none of the packages")
    for item in packages:
        for fault in item.get("vulns", ()):
            fixed = ", ".join(fault["fix_versions"]) or "no version yet"
            lines.append(f"{item['name']} {item['version']}: {fault['id']}, corrected in {fixed}")
            correctable = correctable or bool(fault["fix_versions"])
    if unknown:
        lines.append(f"{len(unknown)} of {len(packages)} packages are not in the list: {', '.join(unknown)}.")
    return "\n".join(lines or [f"None of {len(packages)} packages has a known fault."]), correctable


def _audit() -> str:
    python = FOLDER / "bin" / "python"
    if not python.is_file():
        venv.create(FOLDER, with_pip=True)
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "pip-audit"]
        subprocess.run(install, check=True, capture_output=True, text=True, timeout=120)
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as packages:
        packages.write("\n".join(_pinned()))
        packages.flush()
        command = [python, "-m", "pip_audit", "--no-deps", "--disable-pip", "-r", packages.name, "--format", "json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT_S)
    if not done.stdout.strip():
        raise ValueError(done.stderr.strip() or f"pip-audit ended with {done.returncode}")
    text, correctable = described(done.stdout)
    if correctable:
        print(text)
        sys.exit(1)
    return text


def _pinned() -> list[str]:
    """The installed packages; a local version, such as that of a build for one processor, is left out."""
    found = {item.metadata["Name"]: item.version.partition("+")[0] for item in distributions()}
    return sorted(f"{name}=={version}" for name, version in found.items() if name != "offramp")


if __name__ == "__main__":
    main()
