"""See the package: names that are imported, and not used in reading an export."""


class VisionDataset:
    """A base class."""
