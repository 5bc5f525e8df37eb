"""The front door: parse, call the service, translate the error."""
