"""The Open Inference Protocol over gRPC, beside the HTTP server and with its limits.

A call passes through these files in order: `server` (connections, limits, API key, errors),
`service` (what each call answers) and `tensors` (validation of an infer request). `protocol` has
the messages, from `inference.proto` and `health.proto`; `make protocol` compiles them.
"""
