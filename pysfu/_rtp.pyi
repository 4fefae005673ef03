from typing import Any, Final

import numpy as np
import numpy.typing as npt

HEADER: Final[np.dtype[Any]]

def parse(buffer: bytes | bytearray | memoryview, offsets: npt.NDArray[np.int64]) -> npt.NDArray[Any]: ...
def write(buffer: bytearray | memoryview, offsets: npt.NDArray[np.int64], headers: npt.NDArray[Any]) -> None: ...
