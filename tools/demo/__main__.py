"""Set up the demo (`make demo`) and remove it (`make demo-down`).

The demo starts on a bare machine. It shows predictions of a real MLflow model, and a bad version that the operator
rolls back.
"""

from __future__ import annotations

import argparse
import sys
import time

from tools.demo import tour
from tools.demo.install import installed
from tools.localcluster import down
from tools.localcluster.errors import ClusterError
from tools.localcluster.shell import say, step


def demo_up(name: str) -> None:
    """Set up the whole demo, or the parts of it that are missing."""
    start = time.monotonic()
    cluster = installed(name)
    url = tour.shown(cluster)
    print("\n$ kubectl get mdep\n" + cluster.kubectl("get", "mdep"))
    say(f"The demo is up ({time.monotonic() - start:.0f}s).")
    print(tour.next_steps(cluster, url))


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code.

    If the command fails, print one sentence on standard error that tells the user what to know or do.
    """
    parser = argparse.ArgumentParser(prog="python3 -m tools.demo", description=__doc__)
    parser.add_argument("command", choices=("up", "down"))
    parser.add_argument("--name", default="demo", help="the cluster's name (default: demo)")
    options = parser.parse_args(argv)
    try:
        if options.command == "up":
            demo_up(options.name)
        else:
            with step(f"cluster {options.name} removed"):
                down(options.name)
    except ClusterError as problem:
        say(f"error: {problem}")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
