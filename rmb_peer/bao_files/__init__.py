"""Files and streams around `rmb_peer.protocol.bao`: reading, writing, threads, progress. No rule of Bao is here."""
