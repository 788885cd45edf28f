"""The model: its checkpoint, how its steps are forecast, and the loaded pipeline that makes a batch."""
