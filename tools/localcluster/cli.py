"""The command `python3 -m tools.localcluster`."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from pathlib import Path

from tools.localcluster import addons as catalogue
from tools.localcluster import external, images, lifecycle, proc, tools
from tools.localcluster import spec as specs
from tools.localcluster.cluster import Cluster, connect
from tools.localcluster.errors import ClusterError
from tools.localcluster.shell import say, step


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python3 -m tools.localcluster", description="Real Kubernetes without Docker."
    )
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.add_argument("--name", default="dev", help="the cluster's name (default: dev)")
        return added

    for name, text in (
        ("up", "make a cluster, or find the running one and add what it lacks"),
        ("build-tools", "build all that `up` with the same options needs, and Helm, and start nothing"),
    ):
        made = command(name, text)
        made.add_argument("--profile", choices=specs.PROFILES, default="node")
        made.add_argument("--addons", help=f"comma separated, out of: {', '.join(catalogue.ALL)}; '' for none")
        made.add_argument("--scheduler", action="store_true", help="a scheduler in a control plane too")
        made.add_argument("--base-image", action="store_true", help="make the base image of our images meanwhile")
        made.add_argument("--use", choices=("local", "kind", "existing"), default="local")
    command("down", "remove a cluster whole").add_argument("--all", action="store_true", help="all clusters")
    command("status", "show the parts of a cluster")
    command("env", "print the shell's export lines")
    load = command("load-image", "import image archives into the node")
    load.add_argument("archives", nargs="+", type=Path)
    image = commands.add_parser("image", help="build an image from a Dockerfile")
    image.add_argument("--file", required=True, type=Path)
    image.add_argument("--context", default=Path(), type=Path)
    image.add_argument("--tag", required=True)
    image.add_argument("--build-arg", action="append", default=[], metavar="NAME=VALUE", dest="arguments")
    image.add_argument("--load", metavar="NAME", help="import it into this cluster")
    logs = command("logs", "show the log of a component")
    logs.add_argument("component", nargs="?", help="default: the end of every log")
    logs.add_argument("-f", "--follow", action="store_true")
    return parser


def _addons(args: argparse.Namespace) -> tuple[str, ...] | None:
    return None if args.addons is None else tuple(a for a in args.addons.split(",") if a)


def _up(args: argparse.Namespace) -> None:
    start = time.monotonic()
    if args.use == "local":
        options = {"scheduler": args.scheduler, "base_image": args.base_image}
        cluster = lifecycle.up(args.name, args.profile, _addons(args), **options)
        say(f"cluster {args.name} is up ({time.monotonic() - start:.1f}s)")
        _print_env(cluster)
        return
    kubeconfig = external.kind(args.name) if args.use == "kind" else external.existing()
    print(f"export KUBECONFIG={shlex.quote(kubeconfig)}")


def _print_env(cluster: Cluster) -> None:
    values = {"KUBECONFIG": str(cluster.kubeconfig), "SLUICEGATE_CLUSTER": cluster.name}
    if cluster.spec.is_node:
        values |= {"SLUICEGATE_NODE_IP": cluster.node_ip, "SLUICEGATE_HOST_IP": cluster.host_ip}
        values |= {"SLUICEGATE_GATEWAY_URL": cluster.gateway_url}
    for name, value in values.items():
        print(f"export {name}={shlex.quote(value)}")


def _down(args: argparse.Namespace) -> None:
    for name in specs.all_names() if args.all else [args.name]:
        with step(f"cluster {name} removed"):
            lifecycle.down(name)


def _status(args: argparse.Namespace) -> int:
    spec = specs.load(args.name)
    if spec is None:
        print(f"There is no cluster {args.name!r}; there are: {', '.join(specs.all_names()) or 'none'}.")
        return 1
    records = [proc.load(spec.state, n) for n in proc.names(spec.state)]
    rows = [("COMPONENT", "PID", "STATE", "LOG")]
    rows += [(r.name, str(r.pid), "up" if r.alive else "down", r.log) for r in records]
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    for row in rows:
        print("  ".join([*(cell.ljust(w) for cell, w in zip(row, widths, strict=False)), row[3]]))
    problem = Cluster(spec).broken()
    print(f"{spec.name} ({spec.profile}, {spec.server}): {problem or 'ready'}")
    return 1 if problem else 0


def _logs(args: argparse.Namespace) -> None:
    cluster = connect(args.name)
    if args.component is None:
        for name in cluster.components:
            print(f"== {name}\n{proc.last_lines(proc.load(cluster.state, name))}")
        return
    log = proc.load(cluster.state, args.component).log
    sys.stdout.flush()
    os.execvp("tail", ["tail", "-n", "+1" if not args.follow else "20", *(["-f"] if args.follow else []), log])


def _image(args: argparse.Namespace) -> None:
    tar = images.build(args.file, args.context, args.tag, args.arguments)
    if args.load:
        with step(f"image {args.tag} into {args.load}"):
            connect(args.load).load_image(tar)
    print(tar)


def _run(args: argparse.Namespace) -> int:
    match args.command:
        case "up":
            _up(args)
        case "build-tools":
            chosen = catalogue.choose(_addons(args), args.profile)
            lifecycle.prepare(args.profile, chosen, args.base_image, more=[tools.helm])
        case "down":
            _down(args)
        case "status":
            return _status(args)
        case "env":
            _print_env(connect(args.name))
        case "load-image":
            for archive in args.archives:
                with step(f"image {archive.name} into {args.name}"):
                    connect(args.name).load_image(archive)
        case "image":
            _image(args)
        case "logs":
            _logs(args)
    return 0


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code.

    If the command fails, print one sentence on standard error that tells the user what to know or do.
    """
    try:
        return _run(_parser().parse_args(argv))
    except ClusterError as problem:
        say(f"error: {problem}")
        return 1
    except KeyboardInterrupt:
        return 130
