"""Summarise what was recorded: drift, performance, latency and resources, on a schedule."""
