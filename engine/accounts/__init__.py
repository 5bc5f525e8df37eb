"""Who owns what: reference data, admission of commands to money, the accounts desk. Pure."""
