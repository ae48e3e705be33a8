"""Portfolio ideas, one a file."""
