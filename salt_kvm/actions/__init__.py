"""What the execution modules do, one file per noun; every function takes the world first."""
