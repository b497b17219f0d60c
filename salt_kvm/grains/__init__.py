"""Grains files, found by Salt's loader."""
