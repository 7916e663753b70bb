"""What is kept: HDF5 files of ours, networks, and cells as records."""
