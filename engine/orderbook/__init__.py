"""Price-time matching: pure, synchronous, deterministic."""
