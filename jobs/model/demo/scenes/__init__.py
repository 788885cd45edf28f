"""What the embedded models draw: their sentences, and readers that tell what a picture or clip shows."""
