"""The only part of the core that imports Ray: trainings and prediction shards on whatever machines there are."""
