"""All that outlives the server: a database, and files for logs."""
