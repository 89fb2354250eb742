"""Tests of the dashboard with a real database and Streamlit itself."""
