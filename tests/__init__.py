"""Tests, and the drill and the benchmark that share their peers."""
