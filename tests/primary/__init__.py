"""Tests of the primary as objects, and the scriptable SMTP server that replay's tests use too."""
