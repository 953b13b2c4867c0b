//! Open Inference Protocol over the unix socket and loopback TCP.
