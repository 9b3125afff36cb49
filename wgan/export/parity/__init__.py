"""The proof that an export gives the images that PyTorch gives."""
