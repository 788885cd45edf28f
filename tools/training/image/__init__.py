"""The image model: pictures of one or two shapes, in words of colours, shapes and places."""
