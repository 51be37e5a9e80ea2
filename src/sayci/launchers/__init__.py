"""Where steps are made to run."""
