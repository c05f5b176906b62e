"""Who speaks how: one row a release, a compression method, a machine type; who sends which final SYNC; and in words
which releases do something."""
