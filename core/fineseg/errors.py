"""The one family of errors that a user causes and can mend: shown as a single line, exit code 1."""

from collections.abc import Sequence


class FinesegError(Exception):
    """Something the user gave is wrong: the message says where, what, and what would be right."""


class ProfileError(FinesegError):
    """Every fault of a profile at once, one line each."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = tuple(faults)


class BrokenOff(FinesegError):
    """What came from outside: a process was killed, a disk is full, a machine is gone. The same command continues."""


class BudgetSpent(BrokenOff):
    """What may be spent is spent. The same command with more of it continues."""


class SessionLost(BrokenOff):
    """Ray itself is gone. Threads still wait for it, so the process must end without further ado (`os._exit`)."""
