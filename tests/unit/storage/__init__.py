"""Storage without a database: layouts, durations, names."""
