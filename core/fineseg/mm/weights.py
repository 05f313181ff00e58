"""Loading weights without ever running code that a file carries.

Every tensor file goes through here, pretrained, resumed or predicted with: `weights_only` has no way around it.
"""

import hashlib
import re
import warnings
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from fineseg.errors import FinesegError, one_line
from fineseg.parts import Weights
from fineseg.store import write_beside

NESTED = ("state_dict", "model", "model_state_dict", "ema_state_dict", "state_dict_ema", "model_ema")
"""Where checkpoints of other projects keep the tensors; of averaged ones only where there are no others."""
BALANCER = "task_balancer"
"""Of a detector that is trained: where its task balancer is, which says nothing about images."""
LONGEST_REASON = 160
"""Characters of what a library says of a file."""


class Inert:
    """Stands for an object beside the tensors of a published checkpoint: takes anything, keeps and does nothing."""

    def __init__(self, *parts: object) -> None: ...

    def __new__(cls, *parts: object) -> "Inert":
        """Return an empty object; `parts` is what the file would have built the real one of."""
        return super().__new__(cls)

    def __setstate__(self, state: object) -> None:
        """Forget it."""


STAND_INS: tuple[tuple[type, str], ...] = (
    # The loss history that mmengine saves along; its methods are named through getattr, which is never called.
    (Inert, "mmengine.logging.history_buffer.HistoryBuffer"),
    (Inert, "builtins.getattr"),
    *((Inert, f"numpy.{core}.multiarray.{name}") for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
    (Inert, "numpy.ndarray"),
    (Inert, "numpy.dtype"),
    (Inert, "argparse.Namespace"),
    (Inert, "pathlib.PosixPath"),
    (OrderedDict, "mmengine.config.config.ConfigDict"),
    (OrderedDict, "mmcv.utils.config.ConfigDict"),
    (OrderedDict, "addict.addict.Dict"),
)
"""What published checkpoints hold besides plain data, by name, and what is built in its place: none of it is imported.

Any other name in a file is refused.
"""


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a torch checkpoint of plain data and tensors onto the CPU.

    Raises `FinesegError` for a file that is missing, damaged, or holds anything but tensors, plain data, and what
    `STAND_INS` names, which comes back empty.
    """
    try:
        with _stand_ins(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what a strange file may do; it is refused then
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise FinesegError(f"{path}: no such weights file") from None
    except Exception as error:  # a damaged file fails in torch in a dozen ways
        raise FinesegError(f"{path}: refused: not a file of plain tensors ({_reason(error)})") from None
    if not isinstance(loaded, dict):
        raise FinesegError(f"{path}: refused: holds a {type(loaded).__name__}, not a table of tensors")
    return loaded


@contextmanager
def _stand_ins() -> Iterator[None]:
    """Let `STAND_INS` be all that torch allows beyond tensors, whatever a library allows in this process."""
    before = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals(list(STAND_INS))
    try:
        yield
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)


def read_tensors(source: str, cache: Path) -> dict[str, torch.Tensor]:
    """Read the tensors of a weights file: a path or URL of a torch checkpoint or an .npz archive."""
    path = local_file(source, cache)
    return _read_npz(path) if path.suffix == ".npz" else tensors_of(read_checkpoint(path))


def tensors_of(loaded: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Return the tensors of a checkpoint, wherever its project keeps them."""
    for name in NESTED:
        if isinstance(loaded.get(name), dict):
            loaded = loaded[name]
    return {key: value for key, value in loaded.items() if isinstance(key, str) and isinstance(value, torch.Tensor)}


def _read_npz(path: Path) -> dict[str, torch.Tensor]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: torch.from_numpy(np.array(archive[name])) for name in archive.files}
    except FileNotFoundError:
        raise FinesegError(f"{path}: no such weights file") from None
    except Exception as error:  # a damaged file fails in numpy and zipfile in a dozen ways
        raise FinesegError(f"{path}: refused: not an archive of plain arrays ({_reason(error)})") from None


def _reason(error: Exception) -> str:
    """Say why a file was refused, without what torch has to say on how to load it all the same."""
    text = " ".join(str(error).split())
    named = re.search(r"Unsupported global: GLOBAL (\S+)", text)
    if named:
        return one_line(f"it names {named[1]}, which is no tensor and might run code")[:LONGEST_REASON]
    text = text.rpartition("WeightsUnpickler error: ")[2].partition(" Check the documentation")[0]
    return one_line(text.split(". ")[0])[:LONGEST_REASON] or type(error).__name__


def of_detector(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return what a training left without the part of its task balancer."""
    return {key: value for key, value in state.items() if not key.startswith(f"{BALANCER}.")}


def local_file(source: str, cache: Path) -> Path:
    """Return the file that a path or URL means; a URL is fetched once, and the copy stays in the cache folder."""
    return _download(source, cache) if source.startswith(("http://", "https://")) else Path(source)


def _download(url: str, cache: Path) -> Path:
    target = cache / f"{hashlib.sha256(url.encode()).hexdigest()[:8]}-{url.rsplit('/', 1)[-1]}"
    if not target.exists():
        try:
            write_beside(target, lambda beside: torch.hub.download_url_to_file(url, str(beside), progress=False))
        except OSError as error:
            raise FinesegError(f"{url}: cannot be fetched ({error}); download it and give its path") from None
    return target


def load_backbone(backbone: nn.Module, weights: Weights, cache: Path) -> list[str]:
    """Load pretrained weights into a backbone; return a line for every tensor that did not match.

    Raises `FinesegError` when nothing matches: such a file belongs to another network.
    """
    state = dict(weights.map_state(read_tensors(weights.source, cache)))
    return load_state(backbone, state, weights.source)


def load_state(module: nn.Module, state: Mapping[str, torch.Tensor], source: str) -> list[str]:
    """Copy what fits of `state` into a module; return a line for every tensor that did not match."""
    own = module.state_dict()
    fits = {k: v for k, v in state.items() if k in own and own[k].shape == v.shape}
    if not fits:
        raise FinesegError(f"{source}: none of its {len(state)} tensors fits this network")
    module.load_state_dict(fits, strict=False)
    notes = [f"{key}: not in the file" for key in own if key not in state and "num_batches_tracked" not in key]
    for key, value in state.items():
        if key not in own:
            notes.append(f"{key}: not in the network")
        elif own[key].shape != value.shape:
            notes.append(f"{key}: {tuple(value.shape)} in the file, {tuple(own[key].shape)} in the network")
    return notes
