"""Who speaks how: one row a release, and who sends which final SYNC."""
