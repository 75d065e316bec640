"""HTTP/1.1 of our own for the predictions port: a connection a client, no task a request."""
