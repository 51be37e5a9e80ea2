"""sayci: a self-hosted CI/CD server for projects with a Makefile."""

__version__ = "0.1.0"
