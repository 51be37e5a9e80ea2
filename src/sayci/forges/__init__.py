"""What forges send: signatures and payloads, one module for each kind."""
