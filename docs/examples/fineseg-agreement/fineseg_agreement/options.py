"""What a profile may set."""

from pydantic import Field

from fineseg import Options


class AgreementOptions(Options):
    """Options of ensembler agreement."""

    iou: float = Field(0.7, ge=0, lt=1, description="masks of a class that overlap by more IoU are one object")
    keep: int = Field(100, gt=0, description="instances kept in an image, highest scores first")


class IdMapsOptions(Options):
    """Options of data set id-maps."""

    classes: tuple[str, ...] = Field(("object",), min_length=1, description="names of the classes, from number 1 on")
    images: str = Field("images", description="folder of the pictures, with a folder for each split")
    maps: str = Field("maps", description="folder of the maps, laid out like the pictures")
