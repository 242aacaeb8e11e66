"""What is around an app while somebody works on it: request lines, errors as pages, and browsers that follow."""
