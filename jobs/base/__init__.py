"""What every room uses: the errors, and the times that processes wait for each other."""
