"""Bucket bounds of histograms, chosen once so that figures of different parts can be compared."""

from __future__ import annotations

FAST = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
"""Bounds in seconds of what should take milliseconds."""
SLOW = (0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
"""Bounds in seconds of what waits for another host."""
SIZES = (1024, 4096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304, 16_777_216, 67_108_864)
"""Bounds in bytes of messages."""
AGES = (10, 60, 300, 1800, 3600, 21_600, 86_400, 259_200, 604_800, 2_592_000)
"""Bounds in seconds of how long messages wait."""
