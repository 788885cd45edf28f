"""What a person reads: status, summary, preview, dry run, warnings and the report."""
