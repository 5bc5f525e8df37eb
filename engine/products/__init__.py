"""One folder per product; each holds the pure machine its desk runs."""
