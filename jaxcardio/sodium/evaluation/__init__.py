"""The experiments of `sodium.evaluate`, one a file."""
