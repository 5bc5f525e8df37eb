"""Books of account: entries, balances, holds, allocation and fees. Pure."""
