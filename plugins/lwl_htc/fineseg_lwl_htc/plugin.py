"""The parts that this plugin supplies."""
