"""What a migration means: the reference receiver, the rules, the reports and the command line."""
