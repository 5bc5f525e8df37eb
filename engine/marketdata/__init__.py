"""What everybody may see of the markets: trades, tickers, candles, and how they move."""
