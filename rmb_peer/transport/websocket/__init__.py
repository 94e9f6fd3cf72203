"""The hot path of a WebSocket, the same for both sides: whole frames out of bytes, many frames in one write."""
