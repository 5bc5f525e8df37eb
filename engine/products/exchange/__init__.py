"""An instrument's desk: its order book, conditional orders, fees and holds."""
