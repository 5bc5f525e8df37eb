"""Supervised trio actors: the machinery, and one actor per pure noun that needs one."""
