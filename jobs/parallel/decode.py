"""Splits the decoding of latents over the ranks: each decodes some of the tiles, rank 0 puts them together.

An autoencoder that decodes in tiles calls its decoder for one tile after the other. Every rank goes through these
calls, makes its own and answers the others with zeros; each result is on its way to rank 0 while the next is made. Then
rank 0 goes through the calls once more to blend what the decoder really said. So the blending is diffusers' own, and
the picture has the same bits as one decoded by one rank. Without tiling there is one tile, which is rank 0's.
"""

from typing import Any

import torch
import torch.distributed as dist
from diffusers.models.autoencoders.vae import DecoderOutput

from jobs.parallel.group import Torn


class SplitDecoder:
    """Replaces ``_decode`` of a pipeline's autoencoder, and the calls of its decoder that come from there.

    Args:
        vae: an AutoencoderKL, AutoencoderKLWan or AutoencoderKLHunyuanVideo.
        rank: this process's; rank 0 gets the picture.
        size: ranks that decode.
    """

    def __init__(self, vae: Any, rank: int, size: int):
        self._vae, self._rank, self._size = vae, rank, size
        self._decode, self._decoder = vae._decode, vae.decoder.forward
        self._results: list[torch.Tensor] = []
        self._on_their_way: list[Any] = []
        self._tiles = 0
        vae._decode = self._split

    def _split(self, latents: torch.Tensor, return_dict: bool = True) -> Any:
        """What ``_decode`` gives on rank 0; on the others a picture of one pixel, which nobody looks at.

        Raises:
            Torn: an error while tiles are on their way, of which some will never come.
        """
        decoder = self._vae.decoder
        self._results, self._on_their_way, self._tiles = [], [], 0
        decoder.forward = self._decode_mine
        try:
            picture = self._decode(latents, return_dict)
            for one in self._on_their_way:
                one.wait()
            self._on_their_way = []
            if self._rank:
                pixel = latents.new_zeros(len(latents), self._vae.config.out_channels, *(1 for _ in latents.shape[2:]))
                return DecoderOutput(sample=pixel) if return_dict else (pixel,)
            if self._tiles > 1:
                decoder.forward = self._repeat
                picture = self._decode(latents, return_dict)
            return picture
        except Exception as error:
            if self._on_their_way:
                raise Torn(f"{type(error).__name__} while tiles are exchanged: {error}") from error
            raise
        finally:
            self._results = []
            del decoder.forward

    def _decode_mine(self, latents: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        if kwargs.get("first_chunk", "feat_cache" not in kwargs):  # with a cache, a tile's frames come call by call
            self._tiles += 1
        owner = (self._tiles - 1) % self._size
        if owner == self._rank:
            result: torch.Tensor = self._decoder(latents, *args, **kwargs).contiguous()
        else:
            result = latents.new_zeros(self._shape(latents, kwargs))
        answer = result.clone()  # blending writes into it, and rank 0 receives into the other
        tag = len(self._results)
        self._results.append(result)
        # On a GPU both wait for what this rank has computed so far, of which each has made as many tiles: so what rank
        # 0 begins to receive is about to be sent, and keeps none of its multiprocessors waiting.
        if self._rank == owner != 0:
            self._on_their_way.append(dist.isend(result, 0, tag=tag))
        elif self._rank == 0 != owner:
            self._on_their_way.append(dist.irecv(result, owner, tag=tag))
        return answer

    def _shape(self, latents: torch.Tensor, kwargs: dict[str, Any]) -> tuple[int, ...]:
        """Of what the decoder makes of these latents."""
        vae = self._vae
        batch, _, *frames, height, width = latents.shape
        channels = vae.config.out_channels
        if not frames:
            scale = 2 ** (len(vae.config.block_out_channels) - 1)
            return batch, channels, height * scale, width * scale
        if "feat_cache" in kwargs:
            made = 1 if kwargs.get("first_chunk") else vae.config.scale_factor_temporal * frames[0]
            scale = vae.spatial_compression_ratio // (vae.config.patch_size or 1)
        else:
            made = (frames[0] - 1) * vae.temporal_compression_ratio + 1
            scale = vae.spatial_compression_ratio
        return batch, channels, made, height * scale, width * scale

    def _repeat(self, latents: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        return self._results.pop(0)
