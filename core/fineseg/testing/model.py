"""Checks of backbones and necks: the maps that they promise, and that they learn."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar
from unittest import SkipTest

from fineseg.errors import FinesegError
from fineseg.parts import BackboneSpec, NeckSpec
from fineseg.testing.conformance import Conformance, expect

if TYPE_CHECKING:
    from torch import Tensor, nn

BATCH = 2


def faults_in(faults: Sequence[str]) -> str:
    """Return the first few of many faults in one line."""
    more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
    return ", ".join(faults[:3]) + more


class MapsConformance(Conformance):
    """What backbones and necks share: modules that return maps of several scales. `sides` are an input's (H, W)."""

    sides: ClassVar[tuple[int, int]] = (64, 96)
    untrained: ClassVar[tuple[str, ...]] = ()

    def spec(self) -> Any:
        """Call the record's `build`."""
        raise NotImplementedError

    def widths(self, spec: Any) -> tuple[int, ...]:
        """Return the promised channels of each map."""
        raise NotImplementedError

    def given(self, sides: tuple[int, int]) -> Any:
        """Draw what the module is called with."""
        raise NotImplementedError

    def built(self) -> tuple[Any, "nn.Module"]:
        """Build the module from the same random numbers every time."""
        import torch

        from fineseg.mm.alone import build_alone

        torch.manual_seed(0)
        spec = self.spec()
        return spec, build_alone(spec.config)

    def expect_maps(self, spec: Any, maps: Sequence["Tensor"], sides: tuple[int, int]) -> None:
        """Raise `AssertionError` unless the maps are as the spec says."""
        import torch

        widths = self.widths(spec)
        expect(len(maps) == len(widths), f"{len(maps)} maps come out; the spec says {len(widths)}")
        for number, (each, width, stride) in enumerate(zip(maps, widths, spec.strides, strict=True)):
            wanted = (BATCH, width, *(math.ceil(side / stride) for side in sides))
            found = tuple(each.shape)
            expect(found == wanted, f"map {number} of {sides} is of shape {found}; its spec says {wanted}")
            expect(each.dtype == torch.float32, f"map {number} is {each.dtype}, must be float32")
            expect(bool(torch.isfinite(each).all()), f"map {number} has numbers that are not finite")

    def test_shapes(self) -> None:
        """Maps have the channels and strides of the spec, also of the smallest input."""
        import torch

        spec, module = self.built()
        least = (max(32, *spec.strides[:4]),) * 2
        with torch.no_grad():
            for sides in (self.sides, least):
                self.expect_maps(spec, module.eval()(self.given(sides)), sides)

    def test_gradients(self) -> None:
        """Gradients reach every parameter that is not frozen, and every input."""
        from fineseg.testing.tiny import gradient_faults

        _, module = self.built()
        given = self.given(self.sides)
        inputs = [each.requires_grad_() for each in (given if isinstance(given, tuple) else (given,))]
        sum(each.square().mean() for each in module.train()(given)).backward()
        faults = gradient_faults(module, self.untrained)
        faults += [f"no gradient reaches input {n}" for n, each in enumerate(inputs) if each.grad is None]
        expect(not faults, faults_in(faults))

    def test_deterministic(self) -> None:
        """One seed gives one start; one input gives one output."""
        import torch

        (_, first), (_, second) = self.built(), self.built()
        starts = [dict(module.state_dict()) for module in (first, second)]
        moved = [key for key in starts[0] if not torch.equal(starts[0][key], starts[1][key])]
        expect(not moved, f"one seed gives two starts: {faults_in(moved)}")
        with torch.no_grad():
            same = [
                torch.equal(*pair)
                for pair in zip(*(first.eval()(self.given(self.sides)) for _ in range(2)), strict=True)
            ]
        expect(all(same), "the same input gives another output in eval mode")


class BackboneConformance(MapsConformance):
    """Checks of a backbone. `untrained` are beginnings of names of parameters that no gradient need reach."""

    kind = "backbone"

    def spec(self) -> BackboneSpec:
        """Build the spec."""
        built: BackboneSpec = self.record.build(self.chosen)
        return built

    def widths(self, spec: BackboneSpec) -> tuple[int, ...]:
        """Return the promised channels of each map."""
        return spec.channels

    def given(self, sides: tuple[int, int]) -> "Tensor":
        """Draw normalised images [B, 3, H, W]."""
        import torch

        return torch.randn(BATCH, 3, *sides, generator=torch.Generator().manual_seed(1))

    def test_spec(self) -> None:
        """The spec has a class, not a registry's name, and rising strides."""
        spec = self.spec()
        expect_class(spec.config)
        expect(len(spec.channels) == len(spec.strides) > 0, "channels and strides must be as many")
        expect(list(spec.strides) == sorted(spec.strides), f"strides {spec.strides} must not fall")
        expect(spec.normalisation.order in ("rgb", "bgr"), f"order is '{spec.normalisation.order}'; rgb or bgr")
        expect(all(value > 0 for value in spec.normalisation.std), "std must be above 0")


class NeckConformance(MapsConformance):
    """Checks of a neck on a backbone whose maps are `channels` wide at `strides`."""

    kind = "neck"
    channels: ClassVar[tuple[int, ...]] = (8, 16, 24, 40)
    strides: ClassVar[tuple[int, ...]] = (4, 8, 16, 32)

    def spec(self) -> NeckSpec:
        """Build the spec."""
        try:
            built: NeckSpec = self.record.build(self.chosen, BackboneSpec({}, self.channels, self.strides))
        except FinesegError as refusal:
            raise SkipTest(f"it wants another backbone; a test of the plugin gives its `channels`: {refusal}") from None
        return built

    def widths(self, spec: NeckSpec) -> tuple[int, ...]:
        """Return the promised channels of each map."""
        return (spec.channels,) * len(spec.strides)

    def given(self, sides: tuple[int, int]) -> tuple["Tensor", ...]:
        """Draw a backbone's maps of an image of these sides."""
        import torch

        generator = torch.Generator().manual_seed(1)
        return tuple(
            torch.randn(BATCH, channels, *(math.ceil(side / stride) for side in sides), generator=generator)
            for channels, stride in zip(self.channels, self.strides, strict=True)
        )

    def test_spec(self) -> None:
        """The spec has classes, not a registry's names, and rising strides."""
        spec = self.spec()
        for config in spec.config if isinstance(spec.config, list) else [spec.config]:
            expect_class(config)
        expect(list(spec.strides) == sorted(set(spec.strides)), f"strides {spec.strides} must rise")


def expect_class(config: Any) -> None:
    """Raise `AssertionError` unless a config names what it builds as a class, at every depth."""
    for key, value in config.items() if isinstance(config, dict) else []:
        if key == "type" and isinstance(value, str) and "." not in value:
            raise AssertionError(f"type = '{value}' is a registry's name; give the class itself")
