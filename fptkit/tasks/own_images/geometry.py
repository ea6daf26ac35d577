"""Pictures of any size in one size."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image


def fitted(image: Image, size: tuple[int, int], resize: str, background: tuple[int, int, int]) -> Image:
    """The picture in this size, scaled by area-weighted bilinear interpolation.

    Never makes anything larger than the result, however long and thin the picture is.

    Args:
        image: in mode ``L`` or ``RGB``.
        size: height and width of the result.
        resize: ``crop``, ``stretch``, ``pad`` or ``none``, as in the option.
        background: colour of what is filled.

    Source: Pillow's ``Image.resize``. ``crop`` is ``ImageOps.fit``: the centre of the picture in the proportions of the
    result, scaled. torchvision's ``Resize`` and ``CenterCrop`` scale first, and differ in rounding.
    """
    from PIL import Image as Pillow

    height, width = size
    if image.size == (width, height):
        return image
    if resize == "stretch":
        return image.resize((width, height), Pillow.Resampling.BILINEAR)
    if resize == "crop":
        return image.resize((width, height), Pillow.Resampling.BILINEAR, box=_centre(image.size, (width, height)))
    if resize == "pad":
        scale = min(width / image.width, height / image.height)
        inner = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(inner, Pillow.Resampling.BILINEAR)
    return _in_frame(image, (width, height), background)


def _centre(size: tuple[int, int], proportions: tuple[int, int]) -> tuple[float, float, float, float]:
    """The largest centred box in these proportions: left, top, right, bottom."""
    scale = min(size[0] / proportions[0], size[1] / proportions[1])
    width, height = min(size[0], proportions[0] * scale), min(size[1], proportions[1] * scale)
    left, top = (size[0] - width) / 2, (size[1] - height) / 2
    return left, top, left + width, top + height


def _in_frame(image: Image, size: tuple[int, int], background: tuple[int, int, int]) -> Image:
    """The picture at the centre of a frame of this size, cropped where it is larger."""
    from PIL import Image as Pillow

    left, top = (image.width - size[0]) // 2, (image.height - size[1]) // 2
    if left >= 0 and top >= 0:
        return image.crop((left, top, left + size[0], top + size[1]))
    colour = Pillow.new("RGB", (1, 1), background).convert(image.mode).getpixel((0, 0))
    frame = Pillow.new(image.mode, size, colour)
    frame.paste(
        image.crop(
            (
                max(left, 0),
                max(top, 0),
                max(left, 0) + min(image.width, size[0]),
                max(top, 0) + min(image.height, size[1]),
            )
        ),
        (max(-left, 0), max(-top, 0)),
    )
    return frame
