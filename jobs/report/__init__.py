"""What a person reads: status, summary, preview, dry run and warnings."""
