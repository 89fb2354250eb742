"""What `modelwatch drift` finds in two tables, and how it is shown: compare, then view, then terminal, JSON or a page."""
