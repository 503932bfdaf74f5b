"""`relay demo`: its counting, its picture, and whole runs of it."""
