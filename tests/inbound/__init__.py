"""Inbound over real sockets: transcripts, limits, cut-through at every step, the open-relay matrix, hostile input."""
