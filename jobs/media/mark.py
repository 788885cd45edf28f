"""What a file says of itself: that a model made it, and in the words of other tools how.

The mark is XMP with the IPTC's digital source type, which search engines, archives and image editors look for. It is
the same for all files. The parameters are one text, which tools look for in a place that depends on the file format.
"""

import uuid

from PIL import ExifTags, Image

XMP = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">
   <Iptc4xmpExt:DigitalSourceType>\
http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia\
</Iptc4xmpExt:DigitalSourceType>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="r"?>"""

_BOX = uuid.UUID("be7acfcb-97a9-42e8-9c71-999491e3afac")  # of XMP in files of boxes


def xmp_box() -> bytes:
    """Return the mark as a box of an mp4 file. At the file's end it moves nothing that offsets point to."""
    content = b"uuid" + _BOX.bytes + XMP.encode()
    return (4 + len(content)).to_bytes(4, "big") + content


def exif_comment(text: str) -> Image.Exif:
    """Return Exif data with a text as UserComment.

    Readers take the bytes of Unicode comments in the order of the Exif header or always with the high one first:
    Pillow's headers have it first, so that both find the same.
    """
    exif = Image.Exif()
    exif[ExifTags.IFD.Exif] = {ExifTags.Base.UserComment: b"UNICODE\0" + text.encode("utf-16-be")}
    return exif
