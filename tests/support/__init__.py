"""What tests of several folders share: clusters made of objects or of facts alone, clocks, cases."""
