"""What only asking tells: the machine, as the doctor finds it, and whether weights can be had."""

import os
from http.client import HTTPException
from pathlib import Path
from urllib.request import Request, urlopen

from fineseg.doctor.probe import CGROUP, cores, run_steps
from fineseg.errors import FinesegError
from fineseg.proposal.measure import Machine, machine_of

WEIGHTS = {True: "mobilenet_v2-b0353104.pth", False: "resnet50-0676ba61.pth"}
"""Torchvision's ImageNet weights of a small network and of one of 50 layers."""
FOLDER = "https://download.pytorch.org/models/"
PATIENCE = 5.0
"""Seconds that the server of the weights has to answer."""
MORE = "a model that starts from ImageNet weights learns much more from few images"


def this_machine() -> Machine:
    """Return what this machine has to train with."""
    answers = run_steps(("gpu", "memory"))
    return machine_of(cores(CGROUP), {name: answer.value for name, answer in answers.items()})


def find_weights(given: str | None, small: bool, profile: Path) -> tuple[str, str]:
    """Return where weights come from, as a profile has it, empty for none, and why.

    `given` is a file, a web address, "none", or None for torchvision's; `small` says for which network. Raises
    `FinesegError` for a file that is not there and an address without an answer.
    """
    if given == "none":
        return "", f"random weights, as asked for; {MORE}"
    if given is not None and "://" not in given:
        file = Path(given)
        if not file.is_file():
            raise FinesegError(f"--weights {given}: no such file; give ImageNet weights, or none")
        path = file if file.is_absolute() else Path(os.path.relpath(file, profile.parent))
        return path.as_posix(), f"ImageNet weights: {MORE}"
    address = given or FOLDER + WEIGHTS[small]
    if answers(address):
        return address, f"ImageNet weights, downloaded once: {MORE}"
    if given is not None:
        raise FinesegError(f"--weights {given}: does not answer; give a file, another address, or none")
    told = f"random weights, as {address} does not answer from here; get that file, then give it as --weights"
    return "", f"{told}: {MORE}"


def answers(address: str) -> bool:
    """Say whether a web address has something; one that is no address has nothing."""
    try:
        with urlopen(Request(address, method="HEAD"), timeout=PATIENCE) as answer:
            return bool(answer.status == 200)
    except (OSError, ValueError, HTTPException):
        return False
