"""How often a client may ask."""

from dataclasses import dataclass


@dataclass(slots=True)
class TokenBucket:
    """`rate` per second on average, `burst` at once. Times are seconds of any steady clock."""

    rate: float
    burst: float
    level: float = -1.0
    at: float = 0.0

    def take(self, now: float) -> bool:
        """Whether one more is within the limit."""
        if self.level < 0:
            self.level, self.at = self.burst, now
        self.level = min(self.burst, self.level + (now - self.at) * self.rate)
        self.at = now
        if self.level < 1:
            return False
        self.level -= 1
        return True
