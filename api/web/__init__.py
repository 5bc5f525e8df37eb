"""The web server: hypercorn's, guarded, with its limits and counts."""
