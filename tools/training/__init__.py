"""Training of the embedded models: a FluxPipeline, a WanPipeline and a StableDiffusionXLPipeline.

They draw coloured shapes from a sentence.

python -m tools.training autoencoder         # pixels <-> latents
python -m tools.training denoiser            # transformer and text encoders
python -m tools.training export              # write the pipeline's directory
python -m tools.training score               # accuracy of the exported pipeline, measured on its pictures

python -m tools.training unet-places         # once in its training: see tools/training/unet/places.py

and the same with ``video-`` before each of them for the video model, and with ``unet-`` for the UNet model, whose
autoencoder and text encoders are the image model's. ``image``, ``video`` and ``unet`` hold what differs between them;
everything else is shared.
"""
