"""Statistics over counts and samples. Pure: plain arrays in, values with their uncertainty out."""
