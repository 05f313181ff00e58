"""Keeping mmengine's and mmdet's own lines off the terminal."""

import contextlib
import logging
import warnings
from collections.abc import Iterator

from mmengine.logging import MMLogger


class _Lines:
    """Whether the libraries may print; they may where output is kept in a file."""

    welcome = False


def let_print() -> None:
    """Let the libraries print what they like in this process from now on."""
    _Lines.welcome = True


def log_level() -> str:
    """Return the level from which on the libraries print."""
    return "INFO" if _Lines.welcome else "ERROR"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence log lines below ERROR and warnings about the libraries' own code while the block runs."""
    if _Lines.welcome:
        yield
        return
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
