"""The local leaderboard: what the folders of runs say of themselves, side by side. Nothing is trained or scored."""
