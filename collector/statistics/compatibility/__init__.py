"""Other libraries' definitions of drift, reproduced number by number, for people who compare with what they had before."""
