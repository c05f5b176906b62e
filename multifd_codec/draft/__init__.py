"""A migration as records that can be edited and encoded again."""
