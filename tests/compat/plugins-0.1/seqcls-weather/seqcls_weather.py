"""The data set `weather`."""

from __future__ import annotations

from seqcls import Dataset, Splits


class Weather(Dataset):
    """Sentences that say whether it rained. Put your data here.

    Args:
        days: Number of sentences of each label.
    """

    def __init__(self, *, days: int = 200) -> None:
        self.days = days

    def load(self) -> Splits:
        """Return the splits; validation is held out from train where there is none."""
        pairs = [self._pair(day) for day in range(2 * self.days)]
        return Splits.from_pairs(pairs[: -self.days // 5], test=pairs[-self.days // 5 :])

    def fingerprint(self) -> str:
        """Return what changes when the data or an option does: encoded data is cached under it."""
        return f"weather 1 {self.days}"

    def _pair(self, day: int) -> tuple[str, str]:
        weather = ("rained", "did not rain")[day % 2]
        return f"On day {day} it {weather} at all.", ("wet", "dry")[day % 2]
