//! Protocol decoders: bytes in, batch out; no sockets.
