"""SMTP grammar, framing and encodings: whole, byte by byte and in random pieces."""
