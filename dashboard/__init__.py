"""Show models, drift, performance, comparisons and alerts to people."""
