"""What pysfu depends on: whether it may, and what is known against it."""
