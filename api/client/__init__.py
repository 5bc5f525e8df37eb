"""A client for programs that trade; imports nothing of the engine."""
