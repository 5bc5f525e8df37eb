"""Money leaving for the outside world, with a cooling-off time."""
