"""What crosses between processes: messages and their encoding. Knows msgspec and the standard library only."""
