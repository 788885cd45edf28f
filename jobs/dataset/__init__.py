"""What is to be made: prompts, and how their samples are numbered, seeded, cut into shards and described."""
