"""Training of the embedded models: a FluxPipeline and a WanPipeline that draw coloured shapes from a sentence.

python -m tools.training autoencoder         # pixels <-> latents
python -m tools.training denoiser            # transformer and text encoders
python -m tools.training export              # write the pipeline's directory
python -m tools.training score               # accuracy of the exported pipeline, measured on its pictures

and the same with ``video-`` before each of them for the video model. ``image`` and ``video`` hold what differs between
the two; everything else is shared.
"""
