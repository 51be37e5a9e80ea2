"""Makes ``twist sayci`` known; imports no reactor, and nothing of sayci until it is asked for."""

from twisted.application.service import ServiceMaker

sayci = ServiceMaker(
    "sayci",
    "sayci.service",
    "A CI/CD server for projects with a Makefile.",
    "sayci",
)
