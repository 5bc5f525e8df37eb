"""Who calls: keys, signatures, addresses, and the secret behind them."""
