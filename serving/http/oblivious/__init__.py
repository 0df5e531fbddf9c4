"""The gateway of Oblivious HTTP: what comes through a relay is answered as if it had come by itself."""
