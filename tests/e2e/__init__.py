"""The relay as a process between real servers: what its operator, its senders and its users see."""
