"""Journal stores. The only place that knows asyncio."""
