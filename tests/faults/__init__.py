"""Real processes, killed, paused and cut off at random while numbered requests cross: `python -m tests.faults`."""
