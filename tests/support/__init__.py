"""What tests share: real servers, clocks, small networks."""
