"""The SQL of the store, as package resources: a folder for each of its parts."""
