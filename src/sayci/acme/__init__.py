"""Certificates by themselves: a client of ACME authorities (RFC 8555), and a port that serves what they issue."""
