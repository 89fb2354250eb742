"""Loaded models behind one protocol."""
