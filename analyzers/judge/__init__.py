"""From surveys to a verdict: infer who sent it, make a script for a destination, solve it, and say what is wrong."""
