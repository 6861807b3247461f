"""Logging of this program.

The root logger belongs to the model: the first `logging.basicConfig` configures it, and any later one has no effect.
"""

import logging
import os
import sys

_OWN = ("sluicegate_scorer", "uvicorn")


def log_to_stderr() -> None:
    """Configure the loggers of this program, and no other."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    for name in _OWN:
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(os.environ.get("LOG_LEVEL", "INFO").upper())
        logger.propagate = False  # the model may send what reaches the root logger to a file of its own
    logging.getLogger("azure").setLevel(logging.ERROR)  # it logs each way to log in that it did not use


def enable_loggers() -> None:
    """Enable the loggers of this program again.

    The functions of `logging.config` disable every logger that their configuration does not name, unless it says
    otherwise.
    """
    for name, logger in logging.root.manager.loggerDict.items():
        if isinstance(logger, logging.Logger) and name.partition(".")[0] in _OWN:
            logger.disabled = False
