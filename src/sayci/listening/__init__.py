"""An edge: sockets to listen at, which outlive the process that has opened them."""
