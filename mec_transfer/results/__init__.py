"""Records, published references, leaderboard: no torch in here."""
