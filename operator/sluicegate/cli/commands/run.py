"""`sluicegate run`: run the operator."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time

from sluicegate.cli import settings
from sluicegate.config.settings import InvalidSettings, Settings
from sluicegate.core.snapshot.redaction import printable


class TextFormatter(logging.Formatter):
    """Log records as text that does not steer the terminal of whoever reads the log."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the lines for one record."""
        return "\n".join(printable(line) for line in super().format(record).splitlines())


class JsonFormatter(logging.Formatter):
    """Log records as JSON, one object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line for one record."""
        entry = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return printable(json.dumps(entry, ensure_ascii=False))


def configure_logging(chosen: Settings) -> None:
    """Log to standard error, in the format and at the level of the settings."""
    handler = logging.StreamHandler(sys.stderr)
    text = TextFormatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    handler.setFormatter(JsonFormatter() if chosen.log_format == "json" else text)
    logging.basicConfig(level=chosen.log_level.upper(), handlers=[handler], force=True)
    for noisy in ("kopf", "httpx", "httpcore", "asyncio"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, logging.getLogger().level))


def run(options: argparse.Namespace) -> int:
    """Run the operator until it receives a signal to stop."""
    from sluicegate.app.shutdown import hold_signals

    hold_signals()
    try:
        chosen = settings.load(options)
    except InvalidSettings as error:
        print(f"sluicegate: {error}", file=sys.stderr)
        return 2
    configure_logging(chosen)
    if options.kubeconfig:
        os.environ["KUBECONFIG"] = options.kubeconfig  # kopf reads its credentials from there
    import uvloop

    from sluicegate.app.process import run as operate

    return uvloop.run(operate(chosen, options.kubeconfig or os.environ.get("KUBECONFIG")))
