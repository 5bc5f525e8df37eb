"""Adapters to the outside world, each with an honest simulated twin."""
