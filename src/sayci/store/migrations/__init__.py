"""The steps from one shape of the tables to the next, as alembic reads them; each is left as it was once it is out."""
