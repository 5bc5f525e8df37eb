"""A market that moves: what is seeded, who trades in it, and the lines to copy."""
