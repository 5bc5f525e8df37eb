"""Pre-trade checks, limits and kill switches. Pure."""
