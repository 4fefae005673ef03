"""Messages and stubs of package `pysfu.v1`, generated from `protos/` by `protos/generate.py`."""
