"""Search for the law behind a table."""
