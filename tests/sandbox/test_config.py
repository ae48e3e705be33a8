"""Options: checked when the run is described, complained about in one line."""

import pytest
from pydantic import ValidationError

from sandbox import RunConfig
from sandbox.errors import ConfigError


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lookback": 1}, "--lookback 1: input should be greater than or equal to 2"),
        ({"top_p": 0.0}, "--top-p 0.0: input should be greater than 0"),
        ({"cash": -5}, "--cash -5: input should be greater than 0"),
        ({"commission_bps": -1}, "--commission-bps -1: input should be greater than or equal to 0"),
        ({"start": "2024-01-02", "end": "2024-01-01"}, "end 2024-01-01 is before start 2024-01-02"),
        ({"lokback": 90}, "--lokback 90: extra inputs are not permitted"),
    ],
)
def test_a_wrong_option_is_named(options, message):
    with pytest.raises(ConfigError) as error:
        RunConfig.of(strategy="s.py", **options)
    assert str(error.value) == message


def test_a_config_does_not_change():
    with pytest.raises(ValidationError):
        RunConfig.of(strategy="s.py").seed = 1


def test_costs_left_open_are_those_of_the_market():
    config = RunConfig.of(strategy="s.py", slippage_bps=0)
    assert config.with_market_costs("ph").commission_bps == 60
    assert config.with_market_costs("us").commission_bps == 5
    assert config.with_market_costs("ph").slippage_bps == 0
