"""What is being done and how long it will take, on one line of a terminal or one line each."""

import sys
import time


class Progress:
    """Told of every job; guesses the rest of the time from how long jobs took against what was expected of them."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._expected = 0.0
        self._done = 0.0
        self._terminal = sys.stderr.isatty()

    def expect(self, seconds: float) -> None:
        """Of all jobs together; the clock starts."""
        self._begun = time.monotonic()
        self._expected = seconds

    def begin(self, what: str) -> None:
        """A job begins."""
        gone = time.monotonic() - self._begun
        pace = gone / self._done if self._done > 20 else 1.0
        left = max(0.0, self._expected - self._done) * pace
        self.tell(f"[{clock(gone)} gone, about {clock(left)} left] {what}")

    def done(self, expected: float) -> None:
        """A job of so many expected seconds is done."""
        self._done += expected

    def tell(self, text: str) -> None:
        """On the line of the terminal, in place of what was there."""
        sys.stderr.write(f"\r\x1b[2K{text}" if self._terminal else f"{text}\n")
        sys.stderr.flush()

    def line(self, text: str) -> None:
        """Something that stays."""
        sys.stderr.write(f"\r\x1b[2K{text}\n" if self._terminal else f"{text}\n")
        sys.stderr.flush()


def clock(seconds: float) -> str:
    """Minutes and seconds."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
