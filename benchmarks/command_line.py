"""How long `spiritsafe --help` takes, beside a bare interpreter. Best of ten, one run.

python benchmarks/command_line.py
"""

import subprocess
import sys
import time


def best(*command: str, tries: int = 10) -> float:
    """Seconds of the fastest run."""
    taken = []
    for _ in range(tries):
        started = time.monotonic()
        subprocess.run(command, check=True, capture_output=True)
        taken.append(time.monotonic() - started)
    return min(taken)


def main() -> None:
    bare = best(sys.executable, "-c", "pass")
    help_ = best(sys.executable, "-m", "synth", "--help")
    print(f"--help {help_ * 1000:.0f} ms, bare interpreter {bare * 1000:.0f} ms")
    print(f"ratio {help_ / bare:.1f}; goal: --help under 300 ms")


if __name__ == "__main__":
    main()
