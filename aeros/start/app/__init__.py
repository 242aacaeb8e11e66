"""The app: found by name or by guess, and looked at whether it can be served."""
