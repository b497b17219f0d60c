"""What is in and around a guest: its agent, its consoles, its media."""
