"""How fast one uploader brings spooled predictions into SQL."""
