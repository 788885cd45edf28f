"""What every room may use: errors, the times that processes wait, words about disks, and what the machine is."""
