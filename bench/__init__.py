"""The figures of ``make bench``: a real server, real git and make, and the same work by hand beside it."""
