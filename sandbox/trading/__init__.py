"""A bar arrives, orders fill, a strategy decides, the books are kept. Knows no model."""
