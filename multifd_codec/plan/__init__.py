"""What a migration carries, and as whom to send it."""
