"""The formats in which serving engines write log-probabilities, one module for each."""
