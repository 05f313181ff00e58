"""Why a picture cannot be read, in words."""


def picture_fault(error: Exception) -> str:
    """Say in one line why Pillow could not read a picture: damaged files fail there in many ways."""
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):  # names an object in memory
        return "it begins as no picture of a known format does"
    return " ".join(str(error).split()) or type(error).__name__
