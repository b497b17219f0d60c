"""Images, volumes, pools and what they are encrypted with."""
