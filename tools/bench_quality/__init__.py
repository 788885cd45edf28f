"""What forecasting costs in quality, on the embedded models, beside its peers at equal evaluation counts."""
