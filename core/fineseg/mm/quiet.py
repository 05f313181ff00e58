"""Keeping mmengine's and mmdet's own lines off the terminal."""

import contextlib
import logging
import warnings
from collections.abc import Iterator

from mmengine.logging import MMLogger


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence log lines below ERROR and warnings about the libraries' own code while the block runs."""
    loggers = [logging.getLogger("mmengine"), MMLogger.get_current_instance()]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
