"""The video model: clips of one shape that moves or stands still."""
