"""Trains the embedded models: a FluxPipeline and a WanPipeline that draw coloured shapes from a sentence.

python -m tools.train_demo autoencoder         # pixels <-> latents
python -m tools.train_demo denoiser            # transformer and text encoders
python -m tools.train_demo export              # write jobs/demo/image
python -m tools.train_demo score               # accuracy of the exported pipeline, measured on its pictures

and the same with `video-` before each of them for jobs/demo/video.
"""
