"""Tests of the queue runner on the real embedded engine and a scriptable primary."""
