"""One backbone and one neck with several ends: heads of one model that read the same features of an image.

An end is a whole mmdet detector with its own losses and weights. In place of a backbone it has a window onto the shared
one, so that heads and their predictors need not know whether they are alone.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from mmdet.models.detectors.base import BaseDetector
from mmdet.registry import MODELS
from mmengine.model import ModuleList
from torch import Tensor, nn

Features = Sequence[Tensor]


class Window(nn.Module):
    """Stands in an end for backbone and neck: what is seen through it are the shared features."""

    def __init__(self) -> None:
        super().__init__()
        self.look: Callable[[Tensor], Features] | None = None

    def forward(self, images: Tensor) -> Features:
        """Return the feature maps of normalised, padded images [B, 3, H, W], finest first."""
        if self.look is None:
            raise RuntimeError("this end belongs to no model with a backbone")
        return self.look(images)


class SharedDetector(BaseDetector):  # type: ignore[misc]
    """A backbone, a neck and the `ends` on them, by name; its loss is the sum of theirs.

    `ends` are mmdet configurations of detectors without backbone, neck and data preprocessor. In the state they are
    numbered, not named: another name is no other training.
    """

    def __init__(self, backbone: Any, neck: Any, ends: Mapping[str, Any], data_preprocessor: Any) -> None:
        super().__init__(data_preprocessor=data_preprocessor)
        self.backbone = MODELS.build(backbone)
        self.neck = MODELS.build(neck)
        self.names = tuple(ends)
        self.ends = ModuleList([MODELS.build({**end, "backbone": {"type": Window}}) for end in ends.values()])
        for end in self.ends:
            end.backbone.look = self.extract_feat
        self._seen: tuple[Tensor, Features] | None = None
        self._own_choice = [parameter for parameter in self.parameters() if parameter.requires_grad]
        self._active: tuple[int, ...] = tuple(range(len(self.names)))
        self._frozen: list[nn.Module] = []

    def place(self, parameter: str) -> tuple[str | None, str]:
        """Return whose a parameter is and its name there: an end's, or None for what is shared."""
        first, _, rest = parameter.partition(".")
        if first != "ends":
            return None, parameter
        number, _, own = rest.partition(".")
        return self.names[int(number)], own

    def learn(self, ends: Collection[int], *, shared: bool) -> None:
        """Let these ends learn, and backbone and neck if `shared`; all else stays as it is, to the last bit.

        What does not learn is in eval mode: running statistics stay too. Losses of other ends are not computed. What a
        part keeps from learning itself, as frozen stages, never learns.
        """
        self._active = tuple(sorted(ends))
        self._frozen = [end for number, end in enumerate(self.ends) if number not in self._active]
        self._frozen += [] if shared else [self.backbone, self.neck]
        still = {id(parameter) for part in self._frozen for parameter in part.parameters()}
        for parameter in self._own_choice:
            parameter.requires_grad_(id(parameter) not in still)
            parameter.grad = None
        self.train(self.training)

    def train(self, mode: bool = True) -> "SharedDetector":
        """Set the mode of all parts that learn; the others stay in eval mode."""
        super().train(mode)
        for part in self._frozen:
            part.eval()
        return self

    def extract_feat(self, batch_inputs: Tensor) -> Features:
        """Return the neck's maps of images [B, 3, H, W], those of `once` if the images are."""
        if self._seen is not None and self._seen[0] is batch_inputs:
            return self._seen[1]
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.neck not in self._frozen):
            maps: Features = self.neck(self.backbone(batch_inputs))
        return maps

    @contextmanager
    def once(self, images: Tensor) -> Iterator[None]:
        """Compute the features of images once; inside, every end that looks at this very tensor gets these."""
        self._seen = (images, self.extract_feat(images))
        try:
            yield
        finally:
            self._seen = None

    def loss(self, batch_inputs: Tensor, batch_data_samples: list[Any]) -> dict[str, Any]:
        """Return the losses of all ends that learn, their names after the end's and a dot."""
        losses: dict[str, Any] = {}
        with self.once(batch_inputs):
            for number in self._active:
                own = self.ends[number].loss(batch_inputs, batch_data_samples)
                losses |= {f"{self.names[number]}.{name}": value for name, value in own.items()}
        return losses

    def predict(self, batch_inputs: Tensor, batch_data_samples: list[Any]) -> list[Any]:
        """Refuse: ends are asked step by step."""
        raise NotImplementedError("a model with ends predicts through their predictors")

    def _forward(self, batch_inputs: Tensor, batch_data_samples: list[Any] | None = None) -> Any:
        """Return the shared features."""
        return self.extract_feat(batch_inputs)
