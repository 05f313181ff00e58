"""The one family of errors that a user causes and can mend: shown as a single line, exit code 1."""

import unicodedata
from collections.abc import Sequence

LONGEST_FAULT = 1200
"""Characters; a profile may have keys and texts of any length."""


class FinesegError(Exception):
    """Something the user gave is wrong: the message says where, what, and what would be right."""


class ProfileError(FinesegError):
    """Every fault of a profile at once, one line each."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(map(_bearable, faults))
        super().__init__("\n".join(self.faults))

    def __reduce__(self) -> tuple[type["ProfileError"], tuple[tuple[str, ...]]]:
        """Go to other processes as a list of faults: an exception hands its message to its constructor else."""
        return type(self), (self.faults,)


class BrokenOff(FinesegError):
    """What came from outside: a process was killed, a disk is full, a machine is gone. The same command continues."""


class BudgetSpent(BrokenOff):
    """What may be spent is spent. The same command with more of it continues."""


class SessionLost(BrokenOff):
    """Ray itself is gone. Threads still wait for it, so the process must end without further ado (`os._exit`)."""


def one_line(text: str) -> str:
    """Return a text with its line breaks, other control characters and halves of surrogate pairs as escapes."""
    return "".join(ascii(letter)[1:-1] if is_control(letter) else letter for letter in text)


def is_control(letter: str) -> bool:
    """Say whether a letter breaks a line, does something else to a terminal, or cannot be encoded."""
    return unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp")


def _bearable(fault: str) -> str:
    text = one_line(fault)
    return text if len(text) <= LONGEST_FAULT else f"{text[: LONGEST_FAULT // 2]} ... {text[-LONGEST_FAULT // 4 :]}"
