"""What Prometheus reads; gathered when it asks."""
