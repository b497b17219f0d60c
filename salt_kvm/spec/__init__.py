"""What the user wants: typed and validated, one file per noun. Pure."""
