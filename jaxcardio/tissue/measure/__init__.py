"""What is measured in a run of a tissue: velocity, electrograms, phase."""
