"""The commands of the shell, a file for each kind: how each is parsed, and the function of Python that it calls."""
