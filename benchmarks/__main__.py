"""`make bench`: the benchmarks that end within minutes. Those that take longer are run by name."""

import subprocess
import sys

QUICK = ("engine_speed", "thresholds", "exact", "digits")


def main() -> None:
    codes = [subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=False).returncode for name in QUICK]
    sys.exit(max(codes))


if __name__ == "__main__":
    main()
