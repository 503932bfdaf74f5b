"""Keys, sealed bytes, verifiers."""
