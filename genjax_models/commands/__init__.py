"""The commands of the shell, a file for each kind. Each calls what Python reaches as well: here are only words."""
