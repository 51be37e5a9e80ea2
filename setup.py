"""How sayci is installed; tool settings are in pyproject.toml."""

import re

from setuptools import find_packages, setup

#: Read, not imported: what sayci imports is not installed yet.
PACKAGE = open("src/sayci/__init__.py", encoding="utf-8").read()

setup(
    name="sayci",
    version=re.search('^__version__ = "(.+)"$', PACKAGE, re.MULTILINE)[1],
    description="A self-hosted CI/CD server for projects with a Makefile: one file, looks after itself, never loses a build",
    long_description=open("README.rst", encoding="utf-8").read(),
    long_description_content_type="text/x-rst",
    license="MIT",
    license_files=["LICENSE"],
    package_dir={"": "src"},
    packages=[
        *find_packages("src", include=["sayci", "sayci.*"]),
        "twisted.plugins",
    ],
    package_data={"sayci": ["py.typed", "web/templates/*", "web/static/*", "sample/*"]},
    python_requires=">=3.11",
    install_requires=[
        "twisted[tls] >= 26.4",
        "klein >= 24.8",
        "treq >= 24.9",
        "msgspec >= 0.20",
        "SQLAlchemy >= 2.0.30",
        "alembic >= 1.13",
        "click >= 8.1",
        "rich >= 13.7",
        "jinja2 >= 3.1.6",
        "cryptography >= 44",
        "prometheus-client >= 0.20",
        "idna >= 3.6",
        "josepy >= 2",
        "txacme >= 0.9.3",
    ],
    extras_require={
        "postgresql": ["psycopg[binary] >= 3.2"],
        "dev": [
            "axe-playwright-python >= 0.1.4",
            "coverage >= 7.6",
            "hypothesis >= 6.100",
            "mypy >= 1.15",
            "mypy-zope >= 1.0.9",
            "openapi-spec-validator >= 0.7.1",
            "playwright >= 1.49",
            "pytest >= 8.3",
            "pytest-cov >= 6",
            "pytest-randomly >= 3.16",
            "pytest-rerunfailures >= 15",
            "pytest-timeout >= 2.3",
            "pytest-twisted >= 1.14",
            "pytest-xdist >= 3.6",
            "ruff >= 0.15",
            "schemathesis >= 4",
            "towncrier >= 24.8",
        ],
    },
    entry_points={"console_scripts": ["sayci = sayci.cli.main:main"]},
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Framework :: Twisted",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Programming Language :: Python :: 3.14",
        "Topic :: Software Development :: Build Tools",
        "Typing :: Typed",
    ],
)
