"""Checks on the repository itself: layers, lengths, types, references."""
