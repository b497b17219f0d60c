"""The machine under the guests: its CPU, its kernel, its daemons."""
