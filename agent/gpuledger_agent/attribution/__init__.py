"""Resolvers: each file names the owner of a process from one source."""
