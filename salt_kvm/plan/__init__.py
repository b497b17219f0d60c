"""From what is wanted and what is seen to the steps between them, one file per noun. Pure."""
