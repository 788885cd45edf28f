"""What a run's shards become for others: a folder that holds only what is public."""
