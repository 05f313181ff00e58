"""What Ray Train calls while a training runs."""

from typing import Any

from ray.train import UserCallback

from fineseg.scheduling.failures import DIED, causes, in_words


class EndAtFaults(UserCallback):  # type: ignore[misc]
    """Ends a training that met what it would only meet again: a user's fault, a full disk.

    Ray Train takes every failure for one that may pass; what a callback raises ends the training.
    """

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        """Hear of what the workers raised."""
        for error in worker_exceptions.values():
            words = in_words(error, "", 1)
            if words is not None and not any(isinstance(cause, DIED) for cause in causes(error)):
                raise words
