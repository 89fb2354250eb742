"""The one database that the other packages share: its tables, its rows and every SQL statement."""
