"""Remove the clusters that the demo and the tests left running.

`make clean` runs this module, and `.ci/run` runs it at its end.
The name of a test cluster contains the process ID of its test run. While that process lives, the cluster stays.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from tools.localcluster import ClusterError, down
from tools.localcluster.shell import say, step
from tools.localcluster.spec import all_names

_OURS = re.compile(r"demo|e2e(-gw\d+)?|pytest-(?P<pid>\d+)")


def left_over(name: str) -> bool:
    """Tell whether the cluster belongs to the demo or to a test run that has ended.

    The name `e2e` contains no process ID, so that cluster always counts as left over.
    """
    match = _OURS.fullmatch(name)
    return match is not None and not (match["pid"] and Path(f"/proc/{match['pid']}").exists())


def main() -> int:
    """Remove the leftover clusters, and continue after one that cannot be removed."""
    parser = argparse.ArgumentParser(prog="python3 -m tools.localcluster.leftovers", description=__doc__)
    parser.add_argument("--all", action="store_true", help="every cluster of this state folder")
    options = parser.parse_args()
    failed = False
    for name in [each for each in all_names() if options.all or left_over(each)]:
        try:
            with step(f"cluster {name} removed"):
                down(name)
        except ClusterError as problem:
            say(f"error: {problem}")
            failed = True
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
