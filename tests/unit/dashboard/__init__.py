"""Tests of the dashboard's pure parts."""
