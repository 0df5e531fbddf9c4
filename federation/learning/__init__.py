"""The maths of both sides of a round: updates, item step, plans of sums. No I/O, no party."""
