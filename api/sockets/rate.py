"""How fast one client may send: a token bucket without a task."""


class Rate:
    """So many a second in the long run, and `burst_max` at once."""

    __slots__ = ("_burst_max", "_checked_s", "_left", "_per_s")

    def __init__(self, per_s: float, burst_max: float) -> None:
        self._per_s = per_s
        self._burst_max = burst_max
        self._left = burst_max
        self._checked_s: float | None = None

    def allows(self, count: int, now_s: float) -> bool:
        """Whether `count` more are within the rate; if not, they are not counted.

        >>> rate = Rate(per_s=2, burst_max=3)
        >>> rate.allows(3, now_s=10.0), rate.allows(1, now_s=10.4), rate.allows(1, now_s=10.5)
        (True, False, True)
        """
        if self._checked_s is not None:
            gained = (now_s - self._checked_s) * self._per_s
            self._left = min(self._burst_max, self._left + gained)
        self._checked_s = now_s
        if count > self._left:
            return False
        self._left -= count
        return True
