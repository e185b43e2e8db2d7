"""The ground floor: FAISS indexes of prototypes and their table."""
