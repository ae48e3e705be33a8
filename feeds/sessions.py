"""What a trading calendar has to tell: the hours of an exchange's sessions. Knows no calendar."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from .bars import NS_PER_DAY, NS_PER_HOUR, NS_PER_SECOND
from .spacing import DAILY_NS, Times, usual_length  # fmt: skip

# Shares of a series' bars, or of the sessions that it touches.
MOSTLY_INSIDE = 0.98  # of another market with weekends and holidays of its own it is less
MOSTLY_AT = 0.5
HARDLY_AT = 0.05
MOSTLY_AT_CLOSE = 0.9  # some sessions end early
LATEST_AFTER_CLOSE_NS = 4 * NS_PER_HOUR  # a bar stamped at the usual close of a session cut short


class Hours(NamedTuple):
    """Sessions in order; nanoseconds since 1970, UTC."""

    days_ns: Times  # [K], midnight UTC of each session's date
    opens_ns: Times  # [K]
    closes_ns: Times  # [K]


class Sessions(Protocol):
    """A trading calendar."""

    @property
    def name(self) -> str: ...

    def hours(self, first_ns: int, last_ns: int) -> Hours:
        """All sessions of the days from the first to the last time, and perhaps more."""
        ...


class Held(NamedTuple):
    """Sessions as one series of bars sees them."""

    name: str
    hours: Hours
    times_ns: Times  # [bars]

    @classmethod
    def of(cls, sessions: Sessions, times_ns: Times) -> Held:
        hours = sessions.hours(int(times_ns[0]) - NS_PER_DAY, int(times_ns[-1]) + NS_PER_DAY)
        return cls(sessions.name, hours, times_ns)

    def of_dates(self, days_ns: Times) -> tuple[Hours, NDArray[np.bool_]] | None:
        """The session of each of `[bars]` dates, and whether it has one at all; None where the
        dates are not those of this calendar.

        A session that ends at midnight is taken to end a second before, on its own date.
        """
        places = np.clip(np.searchsorted(self.hours.days_ns, days_ns), 0, self._last)
        has_one = self.hours.days_ns[places] == days_ns
        covered = (days_ns >= self.hours.days_ns[0]) & (days_ns <= self.hours.days_ns[-1])
        if not covered.any() or has_one[covered].mean() < MOSTLY_INSIDE:
            return None
        closes = self.hours.closes_ns[places]
        closes = np.where(closes == days_ns + NS_PER_DAY, closes - NS_PER_SECOND, closes)
        return Hours(days_ns, self.hours.opens_ns[places], closes), has_one

    @property
    def stamps_are(self) -> str | None:
        """ "open" or "close" where the stamps are the openings or the closes of sessions."""
        if self._share_inside() < MOSTLY_INSIDE:
            return None
        touched = np.unique(self._opened_before_or_at())
        at_open = np.isin(self.hours.opens_ns[touched], self.times_ns).mean()
        at_close = np.isin(self.hours.closes_ns[touched], self.times_ns).mean()
        if at_open >= MOSTLY_AT and at_close <= HARDLY_AT:
            return "open"
        return "close" if at_close >= MOSTLY_AT and at_open <= HARDLY_AT else None

    def opens_of_closes(self) -> Times | None:
        """The session opening before which no bar `[bars]` that closed then has opened; None where
        the bars are not those of this calendar."""
        places = np.searchsorted(self.hours.opens_ns, self.times_ns) - 1
        known = places >= 0
        opens, closes = self.hours.opens_ns[places], self.hours.closes_ns[places]
        if self._daily:
            inside = known & (self.times_ns <= closes + LATEST_AFTER_CLOSE_NS)
            followed = (known & (self.times_ns == closes)).mean() >= MOSTLY_AT_CLOSE
        else:
            inside = known & (self.times_ns <= closes)
            followed = self._share(inside) >= MOSTLY_INSIDE
        if not followed:
            return None
        return np.where(inside, opens, np.iinfo(np.int64).min)

    def closes_of_opens(self) -> Times | None:
        """The session close after which no bar `[bars]` that opened then goes on; None where the
        bars are not those of this calendar."""
        if self._share_inside() < MOSTLY_INSIDE:
            return None
        places = self._opened_before_or_at()
        closes = self.hours.closes_ns[places]
        inside = (self.hours.opens_ns[places] <= self.times_ns) & (self.times_ns < closes)
        return np.where(inside, closes, np.iinfo(np.int64).max)

    @property
    def _daily(self) -> bool:
        return usual_length(self.times_ns) >= DAILY_NS

    @property
    def _last(self) -> int:
        return len(self.hours.days_ns) - 1

    def _opened_before_or_at(self) -> NDArray[np.int64]:
        places = np.searchsorted(self.hours.opens_ns, self.times_ns, side="right") - 1
        return np.clip(places, 0, self._last)

    def _share_inside(self) -> float:
        places = self._opened_before_or_at()
        closes = self.hours.closes_ns[places]
        if self._daily:
            closes = closes + LATEST_AFTER_CLOSE_NS
        opens = self.hours.opens_ns[places]
        return self._share((opens <= self.times_ns) & (self.times_ns <= closes))

    def _share(self, inside: NDArray[np.bool_]) -> float:
        """Of the bars in the years that the calendar knows."""
        covered = (self.times_ns >= self.hours.opens_ns[0]) & (
            self.times_ns <= self.hours.closes_ns[-1] + LATEST_AFTER_CLOSE_NS
        )
        return float(inside[covered].mean()) if covered.any() else 0.0
