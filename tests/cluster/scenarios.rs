//! Situations that once went wrong, or that the design singles out, each with its sequence.
