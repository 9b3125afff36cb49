"""The proof that an export draws what PyTorch draws."""
