"""Ways to run a release's model faster than its own library's front door, one file each.

`lightgbm_rows` and `xgboost_rows` call the libraries' C interfaces on a bare matrix; `onnx_release` runs what
`converting` made of a model with ONNX Runtime. Which one a release gets is measured (`serving/choosing.py`) and kept
only where the recorded predictions come out again.
"""
