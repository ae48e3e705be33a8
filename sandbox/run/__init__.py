"""One run: from options to portfolios, and to a run folder."""
