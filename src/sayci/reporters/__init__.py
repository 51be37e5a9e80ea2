"""Telling others what has become of builds."""
