"""Routes by subject: each handler parses, calls the service, writes the answer."""
