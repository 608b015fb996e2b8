"""The Debian packages in a booted Debian."""
