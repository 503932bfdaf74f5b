"""What the operator can see: metrics, logs, and the crash points that the drill pulls.

Nothing here knows a message: no address, subject, header, body or password enters a metric, a label or a log line.
"""
