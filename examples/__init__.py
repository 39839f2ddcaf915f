"""Programs that use chatfiles.  The tests run them, and the manual shows them."""
