"""A local folder of a Hugging Face model for audio classification."""
