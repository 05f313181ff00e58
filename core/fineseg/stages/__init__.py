"""The steps of a run, one plain function each: what they read and write is in their signatures."""
