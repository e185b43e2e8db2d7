"""What results are made of: array types, records equal by value, what is computed when looked at."""
