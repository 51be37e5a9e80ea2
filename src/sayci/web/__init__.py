"""The edge where people, programs and forges talk to us over HTTP."""
