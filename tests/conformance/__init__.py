"""The standby and Dovecot asked the same, and the standby abused; over sockets, with servers as operators run them."""
