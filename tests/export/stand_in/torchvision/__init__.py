"""Stands in for torchvision where torch is a build for the CPU, for which the registry has no torchvision.

open_clip's loader and MosaicML Streaming import it for data sets and transforms that reading an export does not use.
"""
