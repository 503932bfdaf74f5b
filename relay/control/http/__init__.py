"""The node's HTTP side: metrics, health and status. Read-only; what changes something is the command line's.

No call here changes anything, so there is nothing to forge; and what is shown names no person. Commands act on the
store directly, which works when the node is down as well.
"""
