"""The proof against look-ahead of strategies that trade on calibrated forecasts."""

from dataclasses import replace

import numpy as np
import pytest

from sandbox.forecast.calibrated import CalibratedSource
from sandbox.forecast.recalibrate import Outcomes
from tests.sandbox.forecast.test_calibrated import SAMPLING, Walk, market
from tests.sandbox.lookahead.lookahead_cases import FollowsForecast, first, proved

START = 400
LATEST = np.iinfo(np.int64).max


@pytest.fixture(scope="module")
def frames():
    return market("ABC", bars=440)


def proof_of(frames):
    source = CalibratedSource(Walk(0.5))
    return proved(FollowsForecast, frames, source=source, sampling=SAMPLING, first=START, cuts=4)


def test_calibration_looks_at_nothing_that_was_not_known(frames):
    proof = proof_of(frames)
    assert proof.clean
    assert proof.futures == 16
    assert proof.history_bars == (390, 400)  # of which calibration gets as many as it needs


def test_a_calibration_that_uses_all_outcomes_is_caught(frames, monkeypatch):
    in_order = Outcomes.in_order

    def all_known(self):
        at_once = np.where(self.known_ns == LATEST, self.known_ns, self.known_ns.min())
        return in_order(replace(self, known_ns=at_once))

    monkeypatch.setattr(Outcomes, "in_order", all_known)
    found = first(proof_of(frames))
    assert found.check == "future"
    assert found.bar <= found.cut
