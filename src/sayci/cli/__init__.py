"""The command ``sayci``: a client of the API.  Imports no Twisted, so that it starts fast."""
