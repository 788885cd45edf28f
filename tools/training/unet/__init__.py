"""The UNet model: the image model's sentences and pictures, by a small UNet of SDXL's class that predicts noise."""
