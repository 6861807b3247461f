"""The types of a plan, the traffic share of each revision and its number of pods."""
