"""Tells people what the rules found. docs/notifications.md says what is promised."""
