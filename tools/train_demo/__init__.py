"""Trains the embedded model `model=demo`: a FluxPipeline of 14 MB that draws coloured shapes from a sentence.

python -m tools.train_demo autoencoder     # pixels <-> latents
python -m tools.train_demo denoiser        # transformer and both text encoders
python -m tools.train_demo export          # write jobs/demo/image
python -m tools.train_demo score           # accuracy of the exported pipeline, measured on its pictures
"""
