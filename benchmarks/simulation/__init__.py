"""Simulations that measure whether verdicts can be trusted."""
