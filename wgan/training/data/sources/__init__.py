"""Where images are read from: folders, archives, idx files, data sets by name."""
