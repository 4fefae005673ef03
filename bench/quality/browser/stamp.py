"""A frame's number as black and white blocks in the picture, which survive any encoder and any scaling.

A row of blocks along the upper edge, each a twentieth of the picture's width wide and high: white, black, the number
with its highest bit first, and a checksum, so that a damaged picture has no number rather than a wrong one.
`page.js` reads what this module writes.
"""

import numpy as np
from numpy.typing import NDArray

FRAMES = 360
"""Numbers count up to here and begin again: a recording of so many frames is replayed without a seam."""
NUMBER_BITS = 9
CHECK_BITS = 5
BLOCKS = 2 + NUMBER_BITS + CHECK_BITS
ACROSS = 20
"""Blocks that a picture's width would hold."""
BLACK, WHITE = 32, 220


def bits(number: int) -> list[bool]:
    """The blocks from left to right, True where white. `number`: 0 to `FRAMES` - 1."""
    check = number * 11 % 31
    word = number << CHECK_BITS | check
    return [True, False] + [bool(word >> place & 1) for place in reversed(range(NUMBER_BITS + CHECK_BITS))]


def draw(picture: NDArray[np.uint8], number: int) -> None:
    """Puts the number into a picture in place. `picture`: planar 4:2:0, shape (1.5 × height, width)."""
    rows, width = picture.shape
    height = rows * 2 // 3
    side = width // ACROSS
    for place, white in enumerate(bits(number)):
        picture[:side, place * side : (place + 1) * side] = WHITE if white else BLACK
    chroma = picture[height:].reshape(2, height // 2, width // 2)
    chroma[:, : side // 2, : BLOCKS * side // 2] = 128


def read(picture: NDArray[np.uint8]) -> int | None:
    """The number in a picture's luma, shape (height, width); None where there is none that checks out."""
    side = picture.shape[1] // ACROSS
    inside = slice(side // 4, side - side // 4)
    blocks = (picture[:side, place * side : (place + 1) * side] for place in range(BLOCKS))
    levels = [float(block[inside, inside].mean()) for block in blocks]
    white, black, *rest = levels
    if white - black < (WHITE - BLACK) / 2:
        return None
    word = 0
    for level in rest:
        word = word << 1 | (level > (white + black) / 2)
    number, check = word >> CHECK_BITS, word & ((1 << CHECK_BITS) - 1)
    return number if number < FRAMES and number * 11 % 31 == check else None
