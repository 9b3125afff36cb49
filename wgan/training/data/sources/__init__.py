"""Image sources: folders, archives, idx files, arrays, torchvision's data sets and glyphs."""
