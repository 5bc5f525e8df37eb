"""Orders at the edge: forms in, commands out, answers back; the same for HTTP and sockets."""
