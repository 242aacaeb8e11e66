"""The dashboard: a Quart app in a process of its own that shows what the scoreboard says. Nothing depends on it."""
