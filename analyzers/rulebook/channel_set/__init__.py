"""The connections of a migration."""
