"""Machines' files on hosts of VMware."""
