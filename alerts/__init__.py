"""Judge rules over the metrics and tell people."""
