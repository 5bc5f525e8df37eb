"""What is kept for reading: rows, and the events of the private stream, folded from records."""
