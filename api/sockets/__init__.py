"""Websockets: the public feed, and the private stream with order entry."""
