"""Salt resources: what a minion manages that has none of its own; see docs/vmx.md."""
