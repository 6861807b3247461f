"""What should be true next: the types of a plan, each revision's share of the traffic and its number of pods."""
