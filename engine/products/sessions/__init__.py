"""Who promised to be here: orders that end when their key falls silent or hangs up."""
