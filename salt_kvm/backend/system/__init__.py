"""The operating system under everything: programs, files, devices, locks."""
