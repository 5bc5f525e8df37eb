"""TOML and environment to frozen settings; the engine never imports it."""
