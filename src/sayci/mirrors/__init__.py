"""Copies of the projects' repositories, and checkouts of single commits."""
