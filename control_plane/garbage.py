"""When Python looks for garbage: cycles of objects that nobody has any more.

A search stops everything else, and modules and classes alone are a hundred thousand objects. Most garbage is freed
without one.
"""

import gc
from typing import Final

# Objects made, and not freed yet, until the next search among them. More makes searches rarer, fewer each shorter.
YOUNG: Final = 10_000


def settle() -> None:
    """What is there now stays: it is not looked at again. To be called once everything has been started."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, *gc.get_threshold()[1:])
