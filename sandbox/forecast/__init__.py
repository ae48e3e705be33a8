"""What a model is asked and what it says. Knows no Backtrader."""
